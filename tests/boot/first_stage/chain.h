/** First stages: small programs that change the machine, then start the reference loader from the
 * same volume. */
#pragma once

#include <efi.h>

/** What this first stage does before the loader starts (la57.c, no_services.c). */
EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system);
