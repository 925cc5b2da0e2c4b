#include "handoff/local_apic.h"

#include <stdbool.h>

#include "trace/msr.h"
#include "trace/paging.h"

/* Intel SDM volume 3A, 12.4.4 (IA32_APIC_BASE), 12.4.1 (registers), 12.12.1 (x2APIC's MSRs). */
#define IA32_APIC_BASE 0x1bu
#define APIC_BASE_X2APIC (UINT64_C(1) << 10)
#define X2APIC_SELF_IPI 0x83fu
#define ICR_LOW 0x300u
#define ICR_TO_SELF (UINT32_C(1) << 18)
#define ICR_ASSERT (UINT32_C(1) << 14)
#define SPURIOUS 0xf0u
#define SPURIOUS_APIC_ENABLED (UINT32_C(1) << 8)

void local_apic_interrupt_self(uint8_t vector) {
    uint64_t base = msr_read(IA32_APIC_BASE);
    if ((base & APIC_BASE_X2APIC) != 0) {
        msr_write(X2APIC_SELF_IPI, vector);
        return;
    }
    volatile uint8_t *registers = (volatile uint8_t *)(uintptr_t)(base & ENTRY_FRAME_MASK);
    *(volatile uint32_t *)(registers + SPURIOUS) |= SPURIOUS_APIC_ENABLED;
    *(volatile uint32_t *)(registers + ICR_LOW) = ICR_TO_SELF | ICR_ASSERT | vector;
}
