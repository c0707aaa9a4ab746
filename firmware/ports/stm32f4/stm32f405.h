/* stm32f405.h: the registers that the port uses. RM0090: ST's reference manual, revision 19; PM0214: its Cortex-M4
 * programming manual. */
#ifndef WM_STM32F405_H
#define WM_STM32F405_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* Flash interface, RM0090 3.9 */
#define FLASH_ACR        REG(0x40023c00)
#define FLASH_ACR_168MHZ (5u | 1u << 8 | 1u << 9 | 1u << 10) /* 5 wait states (3.5.1), prefetch, both caches */

/* Reset and clock control, RM0090 7.3 */
#define RCC_CR          REG(0x40023800)
#define RCC_CR_PLLON    (1u << 24)
#define RCC_CR_PLLRDY   (1u << 25)
#define RCC_PLLCFGR     REG(0x40023804)
#define RCC_CFGR        REG(0x40023808)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS(v) ((v) >> 2 & 3u)
#define RCC_CFGR_APB    (5u << 10 | 4u << 13) /* APB1 = clock / 4, APB2 = clock / 2 */
#define RCC_AHB1ENR     REG(0x40023830)
#define RCC_AHB1_GPIOA  (1u << 0)
#define RCC_AHB2ENR     REG(0x40023834)
#define RCC_AHB2_RNG    (1u << 6)
#define RCC_APB2ENR     REG(0x40023844)
#define RCC_APB2_USART1 (1u << 4)
#define RCC_CSR         REG(0x40023874)
#define RCC_CSR_RMVF    (1u << 24)
#define RCC_CSR_BOR     (1u << 25)
#define RCC_CSR_PIN     (1u << 26)
#define RCC_CSR_POR     (1u << 27)
#define RCC_CSR_SOFT    (1u << 28)
#define RCC_CSR_IWDG    (1u << 29)
#define RCC_CSR_WWDG    (1u << 30)

/* GPIO port A, RM0090 8.4 */
#define GPIOA_MODER REG(0x40020000)
#define GPIOA_PUPDR REG(0x4002000c)
#define GPIOA_AFRH  REG(0x40020024)

/* USART1, RM0090 30.6; its interrupt is number 37 (RM0090, table 61) */
#define USART1_SR        REG(0x40011000)
#define USART_SR_ORE     (1u << 3)
#define USART_SR_RXNE    (1u << 5)
#define USART_SR_TC      (1u << 6)
#define USART_SR_TXE     (1u << 7)
#define USART1_DR        REG(0x40011004)
#define USART1_BRR       REG(0x40011008)
#define USART1_CR1       REG(0x4001100c)
#define USART_CR1_RE     (1u << 2)
#define USART_CR1_TE     (1u << 3)
#define USART_CR1_RXNEIE (1u << 5)
#define USART_CR1_UE     (1u << 13)
#define USART1_IRQ       37u

/* Random number generator, RM0090 24.4 */
#define RNG_CR       REG(0x50060800)
#define RNG_CR_RNGEN (1u << 2)
#define RNG_SR       REG(0x50060804)
#define RNG_SR_DRDY  (1u << 0)
#define RNG_SR_BAD   (3u << 5) /* SEIS, CEIS */
#define RNG_DR       REG(0x50060808)

/* Unique device id, 96 bits, RM0090 39.1 */
#define UID_WORD(n) REG(0x1fff7a10 + 4 * (n))

/* SysTick, NVIC and system control block, PM0214 4.3 to 4.5 */
#define SYST_CSR        REG(0xe000e010)
#define SYST_CSR_RUN    7u /* processor clock, interrupt, enable */
#define SYST_RVR        REG(0xe000e014)
#define SYST_CVR        REG(0xe000e018)
#define NVIC_ISER(irq)  REG(0xe000e100 + 4 * ((irq) / 32))
#define NVIC_ICER(irq)  REG(0xe000e180 + 4 * ((irq) / 32))
#define NVIC_BIT(irq)   (1u << ((irq) % 32))
#define SCB_VTOR        REG(0xe000ed08)
#define SCB_AIRCR       REG(0xe000ed0c)
#define SCB_AIRCR_RESET (0x05fa0000u | 1u << 2)
#define SCB_CFSR        REG(0xe000ed28)
#define SCB_CPACR       REG(0xe000ed88)
#define SCB_CPACR_FPU   (0xfu << 20)

#endif
