#include "chip.h"
#include "board.h"
#include "esp32c3.h"
#include "stack.h"
#include "wasmote/node.h"

#define TICKS_PER_MS (SYSTIMER_HZ / 1000)
#define NUDGE_MS     10u
#define POLLS_MAX    100000u /* at 160 MHz some ms, more than a byte takes on the line */
#define RX_FULL      16u     /* bytes in the FIFO of 128 that make an interrupt; at 115200 baud the rest is 9 ms to spare */
#define RX_SILENCE   20u     /* bits of silence that do */

/* ---- time ---- */

static uint32_t timer_ticks(void)
{
    SYSTIMER_UNIT0_OP = SYSTIMER_UNIT0_UPDATE; /* TRM 10.5.1 */
    for (unsigned i = 0; i < POLLS_MAX && (SYSTIMER_UNIT0_OP & SYSTIMER_UNIT0_VALID) == 0; i++) {
    }
    return SYSTIMER_UNIT0_VALUE_LO;
}

/* Milliseconds from the low word of the timer only: a 64-bit division is a long call on this core. Right as long as it is
 * asked once in 268 s; the node asks every second. */
uint32_t wm_port_now_ms(void)
{
    static uint32_t ms, at;
    const uint32_t more = (timer_ticks() - at) / TICKS_PER_MS;
    ms += more;
    at += more * TICKS_PER_MS;
    return ms;
}

/* An interrupt every NUDGE_MS: target 0 in period mode, TRM 10.5.3. */
static void timer_init(void)
{
    SYSTIMER_CONF |= SYSTIMER_CONF_ON;
    SYSTIMER_TARGET0_CONF = NUDGE_MS * TICKS_PER_MS;
    SYSTIMER_COMP0_LOAD = 1;
    SYSTIMER_TARGET0_CONF = NUDGE_MS * TICKS_PER_MS | SYSTIMER_PERIOD_MODE;
    SYSTIMER_INT_CLR = SYSTIMER_TARGET0;
    SYSTIMER_INT_ENA = SYSTIMER_TARGET0;
}

/* Whether this CPU leaves WFI for an interrupt that is pending but switched off is not documented. So they are on when it comes to WFI,
 * and one that is taken just before it has the sleep left out: its handler returns behind wm_chip_wfi. */
__attribute__((noinline)) void wm_chip_sleep(bool (*idle)(void))
{
    CSR_CLEAR(mstatus, MSTATUS_MIE);
    const bool sleep = idle();
    if (sleep) {
        __asm__ volatile(".option push\n"
                         ".option norvc\n"
                         ".globl wm_chip_wfi\n"
                         "csrsi mstatus, 8\n"
                         "wm_chip_wfi:\n"
                         "wfi\n"
                         ".option pop\n" ::: "memory");
    }
    CSR_SET(mstatus, MSTATUS_MIE);
}

/* ---- UART ---- */

static void uart_init(void)
{
    IO_MUX_GPIO20 = (IO_MUX_GPIO20 & ~IO_MUX_FUNCTION) | IO_MUX_INPUT | IO_MUX_PULL_UP; /* an open RX line rests at 1 */
    IO_MUX_GPIO21 &= ~IO_MUX_FUNCTION;
    /* TRM 26.5.2: from the crystal, so that the rate is right at any clock of the CPU. */
    UART_CLK_CONF = UART_CLK_XTAL;
    UART_CLKDIV = XTAL_HZ / BOARD_BAUD | (XTAL_HZ % BOARD_BAUD * 16 / BOARD_BAUD) << 20;
    UART_CONF0 = UART_CONF0_8N1;
    UART_MEM_CONF = (UART_MEM_CONF & ~UART_TIMEOUT_MASK) | UART_TIMEOUT_BITS(RX_SILENCE);
    UART_CONF1 = UART_CONF1_TIMEOUT | RX_FULL;
    UART_ID |= UART_ID_UPDATE;
    for (unsigned i = 0; i < POLLS_MAX && (UART_ID & UART_ID_UPDATE) != 0; i++) {
    }
    UART_INT_CLR = UINT32_MAX;
    UART_INT_ENA = UART_INT_RX_FULL | UART_INT_RX_TIMEOUT;
}

static void uart_receive(void)
{
    while (UART_RX_COUNT(UART_STATUS) != 0) {
        if (!wm_serial_rx_room()) {
            UART_INT_ENA = 0; /* what has raised the interrupt stays raised, so enabling it brings it again */
            return;
        }
        wm_serial_rx((uint8_t)UART_FIFO);
    }
    /* A byte that came since the last look raises it again: after its silence. */
    UART_INT_CLR = UART_INT_RX_FULL | UART_INT_RX_TIMEOUT;
}

static void uart_unmask(void)
{
    UART_INT_ENA = UART_INT_RX_FULL | UART_INT_RX_TIMEOUT;
}

static void uart_put(void *ctx, uint8_t byte)
{
    (void)ctx;
    for (unsigned i = 0; i < POLLS_MAX && UART_TX_COUNT(UART_STATUS) >= UART_FIFO_BYTES - 1; i++) {
    }
    UART_FIFO = byte;
}

const struct wm_uart wm_chip_uart = {.put = uart_put, .unmask = uart_unmask};

/* ---- traps: startup.c calls these ---- */

void wm_isr_uart(void);
void wm_isr_timer(void);
void wm_fault(uint32_t cause, uint32_t pc);

__attribute__((used)) void wm_isr_uart(void)
{
    uart_receive();
}

__attribute__((used)) void wm_isr_timer(void)
{
    SYSTIMER_INT_CLR = SYSTIMER_TARGET0;
    wm_node_nudge();
}

__attribute__((used)) void wm_fault(uint32_t cause, uint32_t pc)
{
    wm_serial_cry(&wm_chip_uart, "fault: ", "mepc and mcause", pc, cause);
    wm_chip_reset();
}

/* ---- identity, entropy, reset ---- */

void wm_chip_mac(char hex[13])
{
    const uint32_t words[2] = {EFUSE_MAC_HI << 16, EFUSE_MAC_LO};
    for (unsigned i = 0; i < 12; i++) {
        const unsigned nibble = i < 4 ? i : i + 4; /* of both words; the first one has four */
        hex[i] = "0123456789abcdef"[words[nibble / 8] >> (28 - 4 * (nibble % 8)) & 15];
    }
    hex[12] = '\0';
}

/* TRM 25.3: with no radio and no ADC in use the generator is fed by the jitter of its own clock alone, and Espressif calls what it gives
 * then pseudo-random. So it is mixed with the address and the time; enough to make nodes and starts differ, not for keys. */
void wm_port_entropy(void *dst, size_t len)
{
    static uint64_t pool;
    uint8_t *at = dst;
    for (size_t i = 0; i < len; i++) {
        if (i % 4 == 0) {
            pool ^= RNG_DATA ^ (uint64_t)(timer_ticks() ^ EFUSE_MAC_LO) << 32;
            pool *= 0x9e3779b97f4a7c15u;
            pool ^= pool >> 29;
        }
        at[i] = (uint8_t)(pool >> (8 * (i % 4 + 4)));
    }
}

const char *wm_chip_reset_cause(void)
{
    switch (RTC_RESET_CAUSE(RTC_RESET_STATE)) { /* TRM 6.1, table of reset sources */
    case 0x01:
        return "power"; /* the chip's pin, EN, switches its power: it is this one too */
    case 0x0f:
        return "brownout";
    case 0x03:
    case 0x0c:
        return "software";
    case 0x07:
    case 0x08:
    case 0x09:
    case 0x0b:
    case 0x0d:
    case 0x10:
    case 0x11:
    case 0x12:
        return "watchdog";
    default:
        return "unknown";
    }
}

_Noreturn void wm_chip_reset(void)
{
    for (unsigned i = 0; i < POLLS_MAX; i++) {
        if (UART_TX_COUNT(UART_STATUS) == 0 && UART_FSM_TX(UART_FSM_STATUS) == 0) {
            break;
        }
    }
    RTC_OPTIONS0 |= RTC_SW_SYS_RST;
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

/* ---- start ---- */

void wm_chip_watchdogs_off(void)
{
    for (unsigned group = 0; group < 2; group++) {
        TIMG_WDTWPROTECT(group) = WDT_KEY;
        TIMG_WDTCONFIG0(group) = TIMG_WDT_UPDATE;
        TIMG_WDTWPROTECT(group) = 0;
    }
    RTC_WDTWPROTECT = WDT_KEY;
    RTC_WDTCONFIG0 = 0;
    RTC_WDTWPROTECT = 0;
    RTC_SWD_WPROTECT = SWD_KEY;
    RTC_SWD_CONF |= RTC_SWD_AUTO_FEED; /* the super watchdog cannot be stopped, but made to feed itself (TRM 12.3) */
    RTC_SWD_WPROTECT = 0;
}

void wm_chip_init(void)
{
    INTERRUPT_ENABLE = 0; /* whatever the ROM has left */
    SYSTEM_PERIP_CLK_EN0 |= SYSTEM_UART | SYSTEM_UART_MEM | SYSTEM_SYSTIMER;
    SYSTEM_PERIP_RST_EN0 &= ~(SYSTEM_UART | SYSTEM_UART_MEM | SYSTEM_SYSTIMER);
    timer_init();
    uart_init();
    INTERRUPT_UART_MAP = LINE_UART;
    INTERRUPT_SYSTIMER_MAP = LINE_TIMER;
    INTERRUPT_TYPE = 0;
    INTERRUPT_PRIORITY(LINE_UART) = 2; /* above the threshold */
    INTERRUPT_PRIORITY(LINE_TIMER) = 2;
    INTERRUPT_THRESHOLD = 1;
    INTERRUPT_ENABLE = 1u << LINE_UART | 1u << LINE_TIMER;
    CSR_SET(mstatus, MSTATUS_MIE);
}
