#include "chip.h"
#include "board.h"
#include "stack.h"
#include "virt.h"
#include "wasmote/node.h"

#define TICKS_PER_MS (TIMER_HZ / 1000)
#define SLEEP_MAX_MS 60000u
#define NUDGE_MS     10u /* while awake: how often a running function looks at its links at least */

/* ---- time ---- */

/* Milliseconds from the low word of the timer only: a 64-bit division is a long call on this core. Right as long as it is
 * asked once in 429 s; the node asks every 60. */
uint32_t wm_port_now_ms(void)
{
    static uint32_t ms, at;
    const uint32_t more = (MTIME_LO - at) / TICKS_PER_MS;
    ms += more;
    at += more * TICKS_PER_MS;
    return ms;
}

static void timer_off(void)
{
    MTIMECMP_HI = UINT32_MAX;
}

static void timer_in(uint32_t ms)
{
    const uint32_t hi = MTIME_HI, lo = MTIME_LO;
    /* If the low word wraps between the two reads, the alarm is early; sleepers look at the clock anyway. */
    const uint64_t when = ((uint64_t)hi << 32 | lo) + ms * TICKS_PER_MS;
    timer_off(); /* no alarm from a half-written time */
    MTIMECMP_LO = (uint32_t)when;
    MTIMECMP_HI = (uint32_t)(when >> 32);
}

void wm_chip_sleep(uint32_t wait_ms, bool (*idle)(void))
{
    CSR_CLEAR(mstatus, MSTATUS_MIE);
    if (idle()) {
        timer_in(wait_ms < SLEEP_MAX_MS ? wait_ms : SLEEP_MAX_MS);
        __asm__ volatile("wfi" ::: "memory"); /* a pending interrupt ends it, also while they are off */
        timer_in(NUDGE_MS);
    }
    CSR_SET(mstatus, MSTATUS_MIE);
}

/* ---- UART ---- */

static void uart_receive(void)
{
    while ((UART_LSR & UART_LSR_RX) != 0) {
        if (!wm_serial_rx_room()) {
            UART_IER = 0;
            return;
        }
        wm_serial_rx(UART_DATA);
    }
}

static void uart_unmask(void)
{
    UART_IER = UART_IER_RX;
}

static void uart_put(void *ctx, uint8_t byte)
{
    (void)ctx;
    for (unsigned i = 0; i < 100000 && (UART_LSR & UART_LSR_TX) == 0; i++) {
    }
    UART_DATA = byte;
}

const struct wm_uart wm_chip_uart = {.put = uart_put, .unmask = uart_unmask};

/* ---- traps ---- */

void wm_trap(uint32_t cause, uint32_t pc);
__attribute__((used)) void wm_trap(uint32_t cause, uint32_t pc)
{
    if (cause == (MCAUSE_INTERRUPT | 7)) {
        timer_in(NUDGE_MS);
        wm_node_nudge();
    } else if (cause == (MCAUSE_INTERRUPT | 11)) {
        const uint32_t irq = PLIC_CLAIM;
        if (irq == UART_IRQ) {
            uart_receive();
        }
        PLIC_CLAIM = irq;
    } else {
        wm_serial_cry(&wm_chip_uart, "fault: ", "mepc and mcause", pc, cause);
        wm_chip_reset();
    }
}

/* ---- start and end ---- */

void wm_chip_init(void)
{
    timer_in(NUDGE_MS);
    UART_FCR = UART_FCR_ON;
    UART_IER = UART_IER_RX;
    PLIC_PRIORITY(UART_IRQ) = 1;
    PLIC_ENABLE = 1u << UART_IRQ;
    PLIC_THRESHOLD = 0;
    CSR_WRITE(mie, MIE_TIMER | MIE_EXTERNAL);
    CSR_SET(mstatus, MSTATUS_MIE);
}

/* The machine has no source of entropy: only the time of the first question, in tenths of a microsecond of the host's
 * clock. Enough to make two nodes differ, not for keys. */
void wm_port_entropy(void *dst, size_t len)
{
    static uint64_t state;
    uint8_t *at = dst;
    for (size_t i = 0; i < len; i++) {
        if (i % 4 == 0) {
            state = (state ^ MTIME_LO ^ (uint64_t)CSR_READ(cycle) << 32) * 0x9e3779b97f4a7c15u;
            state ^= state >> 29;
        }
        at[i] = (uint8_t)(state >> (8 * (i % 4 + 4)));
    }
}

_Noreturn void wm_chip_reset(void)
{
    for (unsigned i = 0; i < 100000 && (UART_LSR & UART_LSR_IDLE) == 0; i++) {
    }
    TEST = TEST_RESET;
    for (;;) {
    }
}

_Noreturn void wm_port_panic(const char *file, int line)
{
    CSR_CLEAR(mstatus, MSTATUS_MIE);
    wm_serial_cry(&wm_chip_uart, "panic: ", file, (uint32_t)line, (uint32_t)(uintptr_t)__builtin_return_address(0));
    wm_chip_reset();
}

uintptr_t wm_port_stack_limit(void)
{
    return (uintptr_t)wm_stack_bottom + BOARD_STACK_RESERVE_BYTES;
}
