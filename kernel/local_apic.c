#include "local_apic.h"

#include "trace/msr.h"

#define IA32_APIC_BASE 0x1bu /* SDM volume 3A, 12.4.4 */
#define APIC_BASE_ENABLED (UINT64_C(1) << 11)
#define APIC_BASE_X2APIC (UINT64_C(1) << 10)
#define X2APIC_ICR 0x830u /* 12.12.9 */
#define ICR_LOW 0x300u    /* 12.6.1 */
#define ICR_HIGH 0x310u
#define ICR_DESTINATION_SHIFT 24
#define ICR_INIT (UINT32_C(5) << 8)
#define ICR_START_UP (UINT32_C(6) << 8)
#define ICR_PENDING (UINT32_C(1) << 12)
#define ICR_ASSERT (UINT32_C(1) << 14)
#define MOST_XAPIC_ID 0xfeu
#define MAX_POLLS 1000000u

static bool is_x2apic(void) {
    return (msr_read(IA32_APIC_BASE) & APIC_BASE_X2APIC) != 0;
}

bool local_apic_usable(const struct handoff_range *registers) {
    return (msr_read(IA32_APIC_BASE) & APIC_BASE_ENABLED) != 0 &&
           (is_x2apic() || registers->bytes != 0);
}

static volatile uint32_t *icr(const struct handoff_range *registers, uint32_t offset) {
    return (volatile uint32_t *)(uintptr_t)(registers->virt + offset);
}

/* Writing the low half sends. Bounded: hardware accepts at once, or never. */
static void send(const struct handoff_range *registers, uint32_t apic_id, uint32_t command) {
    if (is_x2apic()) {
        msr_write(X2APIC_ICR, (uint64_t)apic_id << 32 | command);
        return;
    }
    if (apic_id > MOST_XAPIC_ID) {
        return;
    }
    *icr(registers, ICR_HIGH) = apic_id << ICR_DESTINATION_SHIFT;
    *icr(registers, ICR_LOW) = command;
    for (unsigned polls = 0; polls < MAX_POLLS; polls++) {
        if ((*icr(registers, ICR_LOW) & ICR_PENDING) == 0) {
            return;
        }
    }
}

void local_apic_init(const struct handoff_range *registers, uint32_t apic_id) {
    send(registers, apic_id, ICR_INIT | ICR_ASSERT);
}

void local_apic_start(const struct handoff_range *registers, uint32_t apic_id, uint32_t vector) {
    send(registers, apic_id, ICR_START_UP | ICR_ASSERT | (vector & 0xff));
}
