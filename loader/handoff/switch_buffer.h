/** The library's memory for the switch: in the image, which both address spaces map at its address.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "trace/safe_tables.h"

/** Its first page, with the safe IDT; then that of GDT and TSS: SAFE_TABLES_PAGES, and more. */
uint64_t switch_buffer_first_page(void);
/** Of the whole. */
size_t switch_buffer_bytes(void);
