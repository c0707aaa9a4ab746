/* cortex_m.h: what all Cortex-M4 chips share: core registers, the way from reset to main, faults, the tick that keeps the time.
 * PM0214: ST's programming manual of the Cortex-M4. The port's chip.h declares wm_chip_uart and wm_chip_reset. */
#ifndef WM_CORTEX_M_H
#define WM_CORTEX_M_H

#include <stdint.h>

#define REG(address) (*(volatile uint32_t *)(uintptr_t)(address))

/* SysTick, NVIC, memory protection and system control block, PM0214 4.2 to 4.5 */
#define SYST_CSR            REG(0xe000e010)
#define SYST_CSR_RUN        7u /* processor clock, interrupt, enable */
#define SYST_RVR            REG(0xe000e014)
#define SYST_CVR            REG(0xe000e018)
#define NVIC_ISER(irq)      REG(0xe000e100 + 4 * ((irq) / 32))
#define NVIC_ICER(irq)      REG(0xe000e180 + 4 * ((irq) / 32))
#define NVIC_BIT(irq)       (1u << ((irq) % 32))
#define SCB_VTOR            REG(0xe000ed08)
#define SCB_AIRCR           REG(0xe000ed0c)
#define SCB_AIRCR_RESET     (0x05fa0000u | 1u << 2)
#define SCB_CPACR           REG(0xe000ed88)
#define SCB_CPACR_FPU       (0xfu << 20)
#define MPU_CTRL            REG(0xe000ed94)
#define MPU_CTRL_ON         (1u << 0 | 1u << 2) /* where no region lies, the default map */
#define MPU_RNR             REG(0xe000ed98)
#define MPU_RBAR            REG(0xe000ed9c)
#define MPU_RASR            REG(0xe000eda0)
#define MPU_RASR_READ       (6u << 24 | 1u << 17) /* read-only memory, may be executed */
#define MPU_RASR_SIZE(log2) (((log2) - 1) << 1 | 1u)

/* ---- vectors ---- */

void wm_isr_reset(void); /* copies .data, clears .bss, paints the stack, and calls main */
void wm_isr_fault(void);
void wm_isr_unexpected(void);
void wm_isr_systick(void);

/* The first words of the vector table, PM0214 2.3.4; what a chip adds begins at this number. */
#define WM_CORTEX_M_EXCEPTIONS 16
#define WM_CORTEX_M_VECTORS                                                                                        \
    (void (*)(void))wm_stack_top, wm_isr_reset, wm_isr_unexpected /* NMI */, wm_isr_fault, wm_isr_fault,           \
        wm_isr_fault, wm_isr_fault, [11] = wm_isr_unexpected /* SVCall */, [12] = wm_isr_unexpected /* debug */,   \
        [14] = wm_isr_unexpected /* PendSV */, [15] = wm_isr_systick

/* The table itself is the port's, at the start of the image. */
extern void (*const wm_vectors[])(void);

/* ---- time ---- */

/* Start the tick, which keeps wm_port_now_ms and asks the node for a look at its links. core_hz: the processor's clock. */
void wm_cortex_m_tick(uint32_t core_hz);

/* Time since the tick began, fine enough to be unpredictable; not monotonic. */
uint64_t wm_cortex_m_jitter(void);

/* The system reset. Never returns. */
_Noreturn void wm_cortex_m_reset(void);

#endif
