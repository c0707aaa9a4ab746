#include "chip.h"
#include "board.h"
#include "stm32f4.h"
#include "wasmote/node.h"

#define HSI_HZ      16000000u
#define EMULATED_HZ 168000000u
#define POLLS_MAX   100000u /* more than 20 ms; a crystal takes 2 ms, HSI and PLL 0.3 ms (data sheets, 5.3 and 6.3: oscillators) */

static struct {
    bool     emulated;
    uint32_t clock_hz;
    uint64_t pool; /* entropy */
} chip;

/* ---- pins: a board.h writes one as the base of its port and its number ---- */

/* The UART's, pulled up: an open RX line rests at 1. RM0090 8.4 */
static void pin_alternate(uint32_t port, uint32_t pin)
{
    GPIO_AFR(port, pin) = (GPIO_AFR(port, pin) & ~(15u << 4 * (pin % 8))) | BOARD_UART_AF << 4 * (pin % 8);
    GPIO_PUPDR(port) = (GPIO_PUPDR(port) & ~(3u << 2 * pin)) | 1u << 2 * pin;
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3u << 2 * pin)) | 2u << 2 * pin;
}

#ifdef BOARD_LED
static void pin_output(uint32_t port, uint32_t pin)
{
    GPIO_MODER(port) = (GPIO_MODER(port) & ~(3u << 2 * pin)) | 1u << 2 * pin;
}
#endif

/* The LED is lit while the processor works: dark is idle, bright is a function that runs. */
static void led(bool on)
{
#ifdef BOARD_LED
    REG(BOARD_LED_BSRR) = on ? BOARD_LED_ON : BOARD_LED_OFF;
#else
    (void)on;
#endif
}

static void led_init(void)
{
#ifdef BOARD_LED
    RCC_AHB1ENR |= BOARD_LED_GPIO_ENR;
    (void)RCC_AHB1ENR;
    led(true);
    pin_output(BOARD_LED);
#endif
}

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

/* The board's clock from its crystal or what it is fed. A crystal that does not start is replaced by the internal
 * oscillator, whose 1 % is enough for a UART, and a PLL that does not by 16 MHz. RM0090 7.2, RM0383 6.2. */
static void pll_init(void)
{
    /* A boot loader may have left the PLL running, and then it takes no other setting. */
    RCC_CR |= RCC_CR_HSION;
    (void)poll_for(&RCC_CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY);
    RCC_CFGR = BOARD_CFGR_APB;
    (void)poll_for(&RCC_CFGR, RCC_CFGR_SWS, 0);
    RCC_CR &= ~RCC_CR_PLLON;
    (void)poll_for(&RCC_CR, RCC_CR_PLLRDY, 0);
    FLASH_ACR = FLASH_ACR_CACHED | BOARD_FLASH_WAIT;
#ifdef BOARD_PWR_VOS
    RCC_APB1ENR |= RCC_APB1_PWR;
    (void)RCC_APB1ENR;
    PWR_CR |= PWR_CR_VOS(BOARD_PWR_VOS); /* holds from the PLL's start on */
#endif
    uint32_t pll = BOARD_PLLCFGR;
#ifdef BOARD_PLLCFGR_HSE
    RCC_CR |= BOARD_HSE_EXTERNAL ? RCC_CR_HSEBYP : 0; /* only while HSE is off (7.3.1) */
    RCC_CR |= RCC_CR_HSEON;
    if (poll_for(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY)) {
        pll = BOARD_PLLCFGR_HSE;
    }
#endif
    RCC_PLLCFGR = pll;
    RCC_CR |= RCC_CR_PLLON;
    if (poll_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY)) {
#ifdef BOARD_PWR_VOS
        (void)poll_for(&PWR_CSR, PWR_CSR_VOSRDY, PWR_CSR_VOSRDY);
#endif
        RCC_CFGR = BOARD_CFGR_APB | RCC_CFGR_SW_PLL;
        if (poll_for(&RCC_CFGR, RCC_CFGR_SWS, RCC_CFGR_SW_PLL << 2)) {
            chip.clock_hz = BOARD_CORE_HZ;
        }
    }
}

static void clock_init(void)
{
    chip.clock_hz = HSI_HZ;
    if (chip.emulated) { /* QEMU's chip has one clock whatever its RCC is told */
        chip.clock_hz = EMULATED_HZ;
    } else {
        pll_init();
    }
    wm_cortex_m_tick(chip.clock_hz);
}

void wm_chip_sleep(bool (*idle)(void))
{
    /* With interrupts off, one that comes after the question still ends WFI (PM0214 2.5.2). */
    __asm__ volatile("cpsid i" ::: "memory");
    if (idle()) {
        led(false);
        __asm__ volatile("dsb\n\twfi" ::: "memory");
        led(true);
    }
    __asm__ volatile("cpsie i" ::: "memory");
}

/* ---- UART ---- */

static void uart_init(void)
{
    RCC_AHB1ENR |= BOARD_UART_GPIO_ENR;
    REG(BOARD_UART_ENR) |= BOARD_UART_ENR_BIT;
    (void)REG(BOARD_UART_ENR); /* the clock needs two cycles to arrive (RM0090 7.2.14) */
    pin_alternate(BOARD_TX);
    pin_alternate(BOARD_RX);
    /* RM0090 30.3.4, oversampling by 16 */
    USART_BRR(BOARD_UART) = (chip.clock_hz / BOARD_UART_DIVISOR + BOARD_BAUD / 2) / BOARD_BAUD;
    USART_CR1(BOARD_UART) = USART_CR1_UE | USART_CR1_TE | USART_CR1_RE | USART_CR1_RXNEIE;
    NVIC_ISER(BOARD_UART_IRQ) = NVIC_BIT(BOARD_UART_IRQ);
}

void wm_isr_uart(void);
void wm_isr_uart(void)
{
    /* Reading SR, then DR, takes the byte and clears an overrun (RM0090 30.6.1). One that finds no room stays where it
     * is: masking the UART in the NVIC is enough, and clearing RXNEIE would stall QEMU's model for good. */
    while ((USART_SR(BOARD_UART) & (USART_SR_RXNE | USART_SR_ORE)) != 0) {
        if (!wm_serial_rx_room()) {
            NVIC_ICER(BOARD_UART_IRQ) = NVIC_BIT(BOARD_UART_IRQ);
            return;
        }
        wm_serial_rx((uint8_t)USART_DR(BOARD_UART));
    }
}

static void uart_unmask(void)
{
    NVIC_ISER(BOARD_UART_IRQ) = NVIC_BIT(BOARD_UART_IRQ);
}

static void uart_put(void *ctx, uint8_t byte)
{
    (void)ctx;
    (void)poll_for(&USART_SR(BOARD_UART), USART_SR_TXE, USART_SR_TXE); /* QEMU's TXE interrupt never comes: polled */
    USART_DR(BOARD_UART) = byte;
}

const struct wm_uart wm_chip_uart = {.put = uart_put, .unmask = uart_unmask};

/* ---- identity, entropy, reset ---- */

bool wm_chip_uid(char hex[25])
{
    if (chip.emulated) { /* the address faults there */
        return false;
    }
    for (unsigned i = 0; i < 24; i++) {
        hex[i] = "0123456789abcdef"[REG(BOARD_UID + 4 * (i / 8)) >> (28 - 4 * (i % 8)) & 15];
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
    stir(wm_cortex_m_jitter());
    if (BOARD_RANDOM && !chip.emulated && poll_for(&RNG_SR, RNG_SR_DRDY | RNG_SR_BAD, RNG_SR_DRDY)) {
        stir(RNG_DR);
    }
}

static void entropy_init(void)
{
    if (!chip.emulated) {
        if (BOARD_RANDOM) {
            RCC_AHB2ENR |= RCC_AHB2_RNG;
            (void)RCC_AHB2ENR;
            RNG_CR = RNG_CR_RNGEN;
            (void)poll_for(&RNG_SR, RNG_SR_DRDY, RNG_SR_DRDY);
            (void)RNG_DR; /* not to be used: the first one (RM0090 24.3.1) */
        }
        for (unsigned i = 0; i < 3; i++) {
            stir(REG(BOARD_UID + 4 * i));
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
    (void)poll_for(&USART_SR(BOARD_UART), USART_SR_TC, USART_SR_TC);
    wm_cortex_m_reset();
}

void wm_chip_init(void)
{
    /* HSION is 1 after reset (RM0090 7.3.1). A chip whose RCC reads 0 is QEMU's, where the clock cannot be set,
     * and the unique id and the random numbers are missing. */
    chip.emulated = RCC_CR == 0;
    led_init();
    clock_init();
    uart_init();
    entropy_init();
}
