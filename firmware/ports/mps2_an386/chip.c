#include "chip.h"
#include "board.h"
#include "mps2.h"
#include "wasmote/node.h"

#define POLLS_MAX 100000u

static uint64_t pool; /* entropy */

/* ---- sleep ---- */

void wm_chip_sleep(bool (*idle)(void))
{
    /* With interrupts off, one that comes after the question still ends WFI (PM0214 2.5.2). */
    __asm__ volatile("cpsid i" ::: "memory");
    if (idle()) {
        __asm__ volatile("dsb\n\twfi" ::: "memory");
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

/* ---- UART ---- */

void wm_isr_uart(void);
void wm_isr_uart(void)
{
    /* A byte that finds no room stays where it is, and so does its interrupt: it comes again when it is unmasked. */
    while ((UART_STATE & UART_STATE_RX) != 0) {
        if (!wm_serial_rx_room()) {
            NVIC_ICER(UART_IRQ) = NVIC_BIT(UART_IRQ);
            return;
        }
        UART_INT = UART_INT_RX; /* before the byte is taken: the next one sets it again */
        wm_serial_rx((uint8_t)UART_DATA);
    }
}

static void uart_unmask(void)
{
    NVIC_ISER(UART_IRQ) = NVIC_BIT(UART_IRQ);
}

static void uart_wait(void)
{
    for (unsigned i = 0; i < POLLS_MAX && (UART_STATE & UART_STATE_TX) != 0; i++) {
    }
}

static void uart_put(void *ctx, uint8_t byte)
{
    (void)ctx;
    uart_wait();
    UART_DATA = byte;
}

const struct wm_uart wm_chip_uart = {.put = uart_put, .unmask = uart_unmask};

/* ---- entropy: there is no source of it ---- */

void wm_chip_stir(uint32_t word)
{
    pool = (pool ^ word ^ wm_cortex_m_jitter()) * 0x9e3779b97f4a7c15u;
    pool ^= pool >> 29;
}

void wm_port_entropy(void *dst, size_t len)
{
    uint8_t *at = dst;
    for (size_t i = 0; i < len; i++) {
        if (i % 4 == 0) {
            wm_chip_stir(0);
        }
        at[i] = (uint8_t)(pool >> (8 * (i % 4 + 4)));
    }
}

/* ---- start and end ---- */

void wm_chip_init(void)
{
    /* What plays flash here is RAM, from address 0 on: a write through a null pointer shall fault, as on a chip. */
    MPU_RNR = 0;
    MPU_RBAR = 0;
    MPU_RASR = MPU_RASR_READ | MPU_RASR_SIZE(BOARD_READ_ONLY_LOG2);
    MPU_CTRL = MPU_CTRL_ON;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    wm_cortex_m_tick(CLOCK_HZ);
    UART_BAUDDIV = (CLOCK_HZ + BOARD_BAUD / 2) / BOARD_BAUD;
    UART_CTRL = UART_CTRL_ON;
    NVIC_ISER(UART_IRQ) = NVIC_BIT(UART_IRQ);
    /* What RAM woke up with: partly different at each start of a board, all zeros in an emulator. */
    extern uint32_t wm_pool_bottom[];
    for (unsigned i = 0; i < 256; i++) {
        wm_chip_stir(wm_pool_bottom[i]);
    }
}

_Noreturn void wm_chip_reset(void)
{
    uart_wait();
    wm_cortex_m_reset();
}
