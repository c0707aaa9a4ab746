/* stm32f4.h: the registers that the port uses; which of them a board needs is in its board.h. RM0090: ST's reference manual
 * of the F405, F407 and F429, revision 19; RM0383: of the F411, revision 3, where all of these are the same but for what is
 * said. The core's own registers: cortex_m.h. */
#ifndef WM_STM32F4_H
#define WM_STM32F4_H

#include "cortex_m.h"

/* Flash interface, RM0090 3.9, RM0383 3.8: wait states; prefetch and both caches on */
#define FLASH_ACR        REG(0x40023c00)
#define FLASH_ACR_CACHED (1u << 8 | 1u << 9 | 1u << 10)

/* Power control, RM0383 5.4 */
#define PWR_CR         REG(0x40007000)
#define PWR_CR_VOS(v)  ((v) << 14)
#define PWR_CSR        REG(0x40007004)
#define PWR_CSR_VOSRDY (1u << 14)

/* Reset and clock control, RM0090 7.3 */
#define RCC_CR          REG(0x40023800)
#define RCC_CR_HSION    (1u << 0)
#define RCC_CR_HSIRDY   (1u << 1)
#define RCC_CR_HSEON    (1u << 16)
#define RCC_CR_HSERDY   (1u << 17)
#define RCC_CR_HSEBYP   (1u << 18)
#define RCC_CR_PLLON    (1u << 24)
#define RCC_CR_PLLRDY   (1u << 25)
#define RCC_PLLCFGR     REG(0x40023804)
#define RCC_CFGR        REG(0x40023808)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS    (3u << 2)
#define RCC_AHB1ENR     REG(0x40023830)
#define RCC_AHB2ENR     REG(0x40023834)
#define RCC_AHB2_RNG    (1u << 6)
#define RCC_APB1ENR     REG(0x40023840)
#define RCC_APB1_PWR    (1u << 28)
#define RCC_CSR         REG(0x40023874)
#define RCC_CSR_RMVF    (1u << 24)
#define RCC_CSR_BOR     (1u << 25)
#define RCC_CSR_PIN     (1u << 26)
#define RCC_CSR_POR     (1u << 27)
#define RCC_CSR_SOFT    (1u << 28)
#define RCC_CSR_IWDG    (1u << 29)
#define RCC_CSR_WWDG    (1u << 30)

/* GPIO, RM0090 8.4: base is the port's */
#define GPIO_MODER(base)    REG((base) + 0x00)
#define GPIO_PUPDR(base)    REG((base) + 0x0c)
#define GPIO_AFR(base, pin) REG((base) + 0x20 + 4 * ((pin) / 8))

/* USART, RM0090 30.6: base is the USART's */
#define USART_SR(base)   REG((base) + 0x00)
#define USART_SR_ORE     (1u << 3)
#define USART_SR_RXNE    (1u << 5)
#define USART_SR_TC      (1u << 6)
#define USART_SR_TXE     (1u << 7)
#define USART_DR(base)   REG((base) + 0x04)
#define USART_BRR(base)  REG((base) + 0x08)
#define USART_CR1(base)  REG((base) + 0x0c)
#define USART_CR1_RE     (1u << 2)
#define USART_CR1_TE     (1u << 3)
#define USART_CR1_RXNEIE (1u << 5)
#define USART_CR1_UE     (1u << 13)

/* Random number generator, RM0090 24.4; the F411 has none */
#define RNG_CR       REG(0x50060800)
#define RNG_CR_RNGEN (1u << 2)
#define RNG_SR       REG(0x50060804)
#define RNG_SR_DRDY  (1u << 0)
#define RNG_SR_BAD   (3u << 5) /* SEIS, CEIS */
#define RNG_DR       REG(0x50060808)

#endif
