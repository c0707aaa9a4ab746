#include "chip.h"
#include "board.h"
#include "mps2.h"
#include "stack.h"
#include "wasmote/node.h"

#define TICK_HZ       100u
#define TICK_CYCLES   (CLOCK_HZ / TICK_HZ)
#define CYCLES_PER_MS (CLOCK_HZ / 1000)
#define POLLS_MAX     100000u

static struct {
    volatile uint32_t ticks;
    uint64_t          pool; /* entropy */
} chip;

/* ---- time ---- */

void wm_isr_systick(void);
void wm_isr_systick(void)
{
    chip.ticks = chip.ticks + 1;
    wm_node_nudge();
}

uint32_t wm_port_now_ms(void)
{
    static uint32_t last_ms;
    uint32_t ticks, left;
    do { /* again if the tick came in between */
        ticks = chip.ticks;
        left = SYST_CVR;
    } while (ticks != chip.ticks);
    const uint32_t ms = ticks * (1000 / TICK_HZ) + (TICK_CYCLES - 1 - left) / CYCLES_PER_MS;
    /* The counter starts over some cycles before its interrupt is taken: never go back by that tick. */
    if ((int32_t)(ms - last_ms) > 0) {
        last_ms = ms;
    }
    return last_ms;
}

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
            NVIC_ICER = NVIC_BIT(UART_IRQ);
            return;
        }
        UART_INT = UART_INT_RX; /* before the byte is taken: the next one sets it again */
        wm_serial_rx((uint8_t)UART_DATA);
    }
}

static void uart_unmask(void)
{
    NVIC_ISER = NVIC_BIT(UART_IRQ);
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
    chip.pool = (chip.pool ^ word ^ (uint64_t)SYST_CVR << 32) * 0x9e3779b97f4a7c15u;
    chip.pool ^= chip.pool >> 29;
}

void wm_port_entropy(void *dst, size_t len)
{
    uint8_t *at = dst;
    for (size_t i = 0; i < len; i++) {
        if (i % 4 == 0) {
            wm_chip_stir(chip.ticks);
        }
        at[i] = (uint8_t)(chip.pool >> (8 * (i % 4 + 4)));
    }
}

/* ---- start and end ---- */

void wm_chip_init(void)
{
    SYST_RVR = TICK_CYCLES - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_RUN;
    UART_BAUDDIV = (CLOCK_HZ + BOARD_BAUD / 2) / BOARD_BAUD;
    UART_CTRL = UART_CTRL_ON;
    NVIC_ISER = NVIC_BIT(UART_IRQ);
    /* What RAM woke up with: partly different at each start of a board, all zeros in an emulator. */
    extern uint32_t wm_pool_bottom[];
    for (unsigned i = 0; i < 256; i++) {
        wm_chip_stir(wm_pool_bottom[i]);
    }
}

_Noreturn void wm_chip_reset(void)
{
    uart_wait();
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    __asm__ volatile("cpsid i" ::: "memory");
    wm_serial_cry(&wm_chip_uart, "panic: ", file, (uint32_t)line, (uint32_t)(uintptr_t)__builtin_return_address(0));
    wm_chip_reset();
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)wm_stack_bottom + BOARD_STACK_RESERVE_BYTES;
}
