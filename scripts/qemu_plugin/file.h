#pragma once

/** The file of the plugin, in memory: sections that grow, and say so when they cannot. */

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

extern __attribute__((visibility("hidden"))) struct header *file_header;
extern __attribute__((visibility("hidden"))) uint8_t *file_sections[SECTIONS];

/** Create the file and map it; false, with a line on standard error, if that cannot be. */
bool file_open(const char *path);

/**
 * Add a record that is zero, and return its number, from 1 on. 0 if there is no room for it: the
 * flags then say so.
 *
 * Only under file_lock().
 */
uint32_t file_append(enum section section);

/** Take or release the one lock of all that is seldom done. */
void file_lock(void);
void file_unlock(void);

/** Set a flag of the header. */
void file_flag(uint32_t flag);

/* Records by number. A number is one that file_append() gave. */
#define FILE_RECORD(name, type, section)                                                           \
    static inline type *name(uint32_t number) {                                                    \
        return (type *)(void *)file_sections[section] + (number - 1);                              \
    }
FILE_RECORD(file_instruction, struct instruction, SECTION_INSTRUCTIONS)
FILE_RECORD(file_call, struct call, SECTION_CALLS)
FILE_RECORD(file_store, struct store, SECTION_STORES)
FILE_RECORD(file_moment, struct moment, SECTION_MOMENTS)
FILE_RECORD(file_event, struct event, SECTION_EVENTS)
FILE_RECORD(file_block, struct block, SECTION_BLOCKS)
FILE_RECORD(file_trail, struct trail, SECTION_TRAILS)
FILE_RECORD(file_page, struct page, SECTION_PAGES)
FILE_RECORD(file_slots, struct slots, SECTION_SLOTS)
FILE_RECORD(file_values, struct values, SECTION_VALUES)
FILE_RECORD(file_halves, struct halves, SECTION_HALVES)
