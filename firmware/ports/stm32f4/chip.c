#include "chip.h"
#include "board.h"
#include "stack.h"
#include "stm32f405.h"

#define HSI_HZ    16000000u
#define PLL_HZ    168000000u
#define TICK_HZ   100u
#define POLLS_MAX 100000u /* HSI and PLL are ready within 0.3 ms (data sheet, 5.3.9 and 5.3.10) */

static struct {
    bool              emulated;
    uint32_t          clock_hz, cycles_per_ms;
    volatile uint32_t ticks;
    uint64_t          pool; /* entropy */
} chip;

/* ---- clock ---- */

static bool poll_for(volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
    for (uint32_t i = 0; i < POLLS_MAX; i++) {
        if ((*reg & mask) == value) {
            return true;
        }
    }
    return false;
}

/* 168 MHz from the internal oscillator (1 % is enough for a UART), so that no board needs a certain crystal:
 * 16 MHz / 16 * 336 / 2, and 336 / 7 = 48 MHz for the random number generator. RM0090 7.3.2. */
static void clock_init(void)
{
    chip.clock_hz = HSI_HZ;
    if (chip.emulated) { /* QEMU's chip runs at 168 MHz whatever its RCC is told */
        chip.clock_hz = PLL_HZ;
    } else {
        FLASH_ACR = FLASH_ACR_168MHZ;
        RCC_PLLCFGR = 16u | 336u << 6 | 0u << 16 | 7u << 24;
        RCC_CR |= RCC_CR_PLLON;
        RCC_CFGR = RCC_CFGR_APB;
        if (poll_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) {
            RCC_CFGR = RCC_CFGR_APB | RCC_CFGR_SW_PLL;
            if (poll_for(&RCC_CFGR, 3u << 2, RCC_CFGR_SW_PLL << 2)) {
                chip.clock_hz = PLL_HZ;
            }
        }
    }
    chip.cycles_per_ms = chip.clock_hz / 1000;
    SYST_RVR = chip.clock_hz / TICK_HZ - 1;
    SYST_CVR = 0;
    SYST_CSR = SYST_CSR_RUN;
}

void wm_isr_systick(void);
void wm_isr_systick(void)
{
    chip.ticks = chip.ticks + 1;
}

uint32_t wm_port_now_ms(void)
{
    static uint32_t last_ms;
    uint32_t ticks, left;
    do { /* again if the tick came in between */
        ticks = chip.ticks;
        left = SYST_CVR;
    } while (ticks != chip.ticks);
    const uint32_t ms = ticks * (1000 / TICK_HZ) + (chip.clock_hz / TICK_HZ - 1 - left) / chip.cycles_per_ms;
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

/* ---- USART1: TX is PA9, RX is PA10, alternate function 7 (data sheet, table 9) ---- */

static void uart_init(void)
{
    RCC_AHB1ENR |= RCC_AHB1_GPIOA;
    RCC_APB2ENR |= RCC_APB2_USART1;
    (void)RCC_APB2ENR; /* the clock needs two cycles to arrive (RM0090 7.2.14) */
    GPIOA_AFRH = (GPIOA_AFRH & ~0xff0u) | 0x770u;
    GPIOA_PUPDR = (GPIOA_PUPDR & ~(3u << 20)) | 1u << 20; /* an open RX line rests at 1 */
    GPIOA_MODER = (GPIOA_MODER & ~(15u << 18)) | 10u << 18;
    USART1_BRR = (chip.clock_hz / 2 + BOARD_BAUD / 2) / BOARD_BAUD; /* RM0090 30.3.4, oversampling by 16 */
    USART1_CR1 = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
    NVIC_ISER(USART1_IRQ) = NVIC_BIT(USART1_IRQ);
}

void wm_isr_usart1(void);
void wm_isr_usart1(void)
{
    /* Reading SR, then DR, takes the byte and clears an overrun (RM0090 30.6.1). One that finds no room stays where it
     * is: masking USART1 in the NVIC is enough, and clearing RXNEIE would stall QEMU's model for good. */
    while ((USART1_SR & (USART_SR_RXNE | USART_SR_ORE)) != 0) {
        if (!wm_serial_rx_room()) {
            NVIC_ICER(USART1_IRQ) = NVIC_BIT(USART1_IRQ);
            return;
        }
        wm_serial_rx((uint8_t)USART1_DR);
    }
}

static void uart_unmask(void)
{
    NVIC_ISER(USART1_IRQ) = NVIC_BIT(USART1_IRQ);
}

static void uart_put(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)poll_for(&USART1_SR, USART_SR_TXE, USART_SR_TXE); /* QEMU's TXE interrupt never comes: polled */
    USART1_DR = byte;
}

const struct wm_uart wm_chip_uart = {.put = uart_put, .unmask = uart_unmask};

/* ---- identity, entropy, reset ---- */

bool wm_chip_uid(char hex[25])
{
    if (chip.emulated) { /* the address faults there */
        return false;
    }
    for (unsigned i = 0; i < 24; i++) {
        hex[i] = "0123456789abcdef"[UID_WORD(i / 8) >> (28 - 4 * (i % 8)) & 15];
    }
    hex[24] = '\0';
    return true;
}

static void stir(uint64_t word)
{
    chip.pool = (chip.pool ^ word) * 0x9e3779b97f4a7c15u;
    chip.pool ^= chip.pool >> 29;
}

/* One word of the generator if there is one; always the time. */
static void stir_fresh(void)
{
    stir(SYST_CVR ^ (uint64_t)chip.ticks << 32);
    if (!chip.emulated && poll_for(&RNG_SR, RNG_SR_DRDY | RNG_SR_BAD, RNG_SR_DRDY)) {
        stir(RNG_DR);
    }
}

static void entropy_init(void)
{
    if (!chip.emulated) {
        RCC_AHB2ENR |= RCC_AHB2_RNG;
        (void)RCC_AHB2ENR;
        RNG_CR = RNG_CR_RNGEN;
        (void)poll_for(&RNG_SR, RNG_SR_DRDY, RNG_SR_DRDY);
        (void)RNG_DR; /* not to be used: the first one (RM0090 24.3.1) */
        for (unsigned i = 0; i < 3; i++) {
            stir(UID_WORD(i));
        }
    }
    /* What RAM woke up with: different on each chip, and partly at each start. */
    extern uint32_t wm_pool_bottom[];
    for (unsigned i = 0; i < 256; i++) {
        stir(wm_pool_bottom[i]);
    }
    stir_fresh();
}

void wm_port_entropy(void *dst, size_t len)
{
    uint8_t *at = dst;
    for (size_t i = 0; i < len; i++) {
        if (i % 4 == 0) {
            stir_fresh();
        }
        at[i] = (uint8_t)(chip.pool >> (8 * (i % 4 + 4)));
    }
}

const char *wm_chip_reset_cause(void)
{
    const uint32_t csr = RCC_CSR;
    RCC_CSR = csr | RCC_CSR_RMVF;
    /* The pin is part of every reset, power of brownout: most special first (RM0090 7.3.21). */
    return (csr & (RCC_CSR_IWDG | RCC_CSR_WWDG)) != 0 ? "watchdog"
           : (csr & RCC_CSR_SOFT) != 0                ? "software"
           : (csr & RCC_CSR_POR) != 0                 ? "power"
           : (csr & RCC_CSR_BOR) != 0                 ? "brownout"
           : (csr & RCC_CSR_PIN) != 0                 ? "pin"
                                                      : "unknown";
}

_Noreturn void wm_chip_reset(void)
{
    (void)poll_for(&USART1_SR, USART_SR_TC, USART_SR_TC);
    __asm__ volatile("dsb" ::: "memory");
    SCB_AIRCR = SCB_AIRCR_RESET;
    for (;;) {
    }
}

void wm_chip_init(void)
{
    /* HSION is 1 after reset (RM0090 7.3.1). A chip whose RCC reads 0 is QEMU's, where the clock cannot be set,
     * and the unique id and the random numbers are missing. */
    chip.emulated = RCC_CR == 0;
    clock_init();
    uart_init();
    entropy_init();
}

/* ---- the end ---- */

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
