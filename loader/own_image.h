/** The loader's own image: where it was put, and the symbols of uefi.ld. */
#pragma once

#include <stdint.h>

struct own_image {
    uint64_t base;
    uint64_t bytes;
};

/* First byte and one past the last: the code, and behind it, from page to page, what is never
 * written. */
extern const char own_text[] __attribute__((visibility("hidden")));
extern const char own_text_end[] __attribute__((visibility("hidden")));
/* In it, of whole pages: the code that executes mov cr3. */
extern const char own_switch[] __attribute__((visibility("hidden")));
extern const char own_switch_end[] __attribute__((visibility("hidden")));
extern const char own_constants[] __attribute__((visibility("hidden")));
extern const char own_constants_end[] __attribute__((visibility("hidden")));
extern const char own_build_id_note[] __attribute__((visibility("hidden")));

/* Twenty bytes in hexadecimal, NUL. */
#define OWN_BUILD_ID_CHARS 41

/** Fills the buffer with the build id's digits ("" if the linker made none) and returns it. */
const char *own_image_build_id(char digits_ret[OWN_BUILD_ID_CHARS]);
