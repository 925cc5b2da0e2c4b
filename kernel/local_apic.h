/** The local APIC: only what starts other CPUs (Intel SDM volume 3A, 12.6.1 and 12.12.9). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "handoff.h"

/** False: it is off, or its registers are not mapped. */
bool local_apic_usable(const struct handoff_range *registers);
/** Sends INIT to the CPU. It stays still until a start-up interrupt. */
void local_apic_init(const struct handoff_range *registers, uint32_t apic_id);
/** Sends a start-up interrupt: the CPU begins at the physical address vector << 12. */
void local_apic_start(const struct handoff_range *registers, uint32_t apic_id, uint32_t vector);
