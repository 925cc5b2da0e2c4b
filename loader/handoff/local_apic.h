/** The local APIC, as far as a pending interrupt needs it. */
#pragma once

#include <stdint.h>

/** Sends vector, 16 to 255, to this CPU: pending until interrupts are on. Needs the APIC
 * identity-mapped. */
void local_apic_interrupt_self(uint8_t vector);
