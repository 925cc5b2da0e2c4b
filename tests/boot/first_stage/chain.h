/** First stages: small programs that change the machine, then start the reference loader from the
 * same volume. */
#pragma once

#include <efi.h>

/** What this first stage does before the loader is loaded (la57.c, high.c, ...); an error ends it.
 */
EFI_STATUS prepare_machine(EFI_SYSTEM_TABLE *system);

/** What it does between loading and starting the loader (section_rights.c); an error ends it. */
EFI_STATUS prepare_image(EFI_SYSTEM_TABLE *system, EFI_HANDLE loader);
