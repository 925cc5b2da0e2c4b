/** The loader's own image: the symbols of gnu-efi's linker script. */
#pragma once

/* First byte of the code, one past its last; one past the data and the build id behind it. */
extern const char _text[] __attribute__((visibility("hidden")));
extern const char _etext[] __attribute__((visibility("hidden")));
extern const char _edata[] __attribute__((visibility("hidden")));

/* Twenty bytes in hexadecimal, NUL. */
#define OWN_BUILD_ID_CHARS 41

/** Fills the buffer with the build id's digits ("" if the linker made none) and returns it. */
const char *own_build_id(char digits_ret[OWN_BUILD_ID_CHARS]);
