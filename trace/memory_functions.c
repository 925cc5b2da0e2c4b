/*
 * The four functions that a freestanding compiler may call on its own (GCC manual, "Standards").
 * Weak: a program whose other libraries bring some of them (gnu-efi's: memcpy and memset) keeps
 * those.
 *
 * String instructions, not loops: a compiler would recognise a loop and turn it into a call to
 * itself.
 */
#include <stddef.h>

#define WEAK __attribute__((weak))

void *memcpy(void *__restrict to, const void *__restrict from, size_t count) WEAK;
void *memmove(void *to, const void *from, size_t count) WEAK;
void *memset(void *to, int byte, size_t count) WEAK;
int memcmp(const void *left, const void *right, size_t count) WEAK;

static void copy_upwards(char *to, const char *from, size_t count) {
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
}

/* DF must be clear again for the ABI. */
static void copy_downwards(char *to, const char *from, size_t count) {
    char *last_to = to + count - 1;
    const char *last_from = from + count - 1;
    __asm__ volatile("std\n\trep movsb\n\tcld"
                     : "+D"(last_to), "+S"(last_from), "+c"(count)
                     :
                     : "memory", "cc");
}

void *memcpy(void *__restrict to, const void *__restrict from, size_t count) {
    copy_upwards((char *)to, (const char *)from, count);
    return to;
}

void *memmove(void *to, const void *from, size_t count) {
    /* Modulo 2^64: small only if `to` lies inside the bytes at `from`, where copying upwards would
     * overwrite them. */
    size_t ahead = (size_t)to - (size_t)from;
    if (ahead >= count) {
        copy_upwards((char *)to, (const char *)from, count);
    } else {
        copy_downwards((char *)to, (const char *)from, count);
    }
    return to;
}

void *memset(void *to, int byte, size_t count) {
    void *next = to;
    __asm__ volatile("rep stosb" : "+D"(next), "+c"(count) : "a"(byte) : "memory");
    return to;
}

int memcmp(const void *left, const void *right, size_t count) {
    const unsigned char *left_byte = (const unsigned char *)left;
    const unsigned char *right_byte = (const unsigned char *)right;
    for (size_t i = 0; i < count; i++) {
        if (left_byte[i] != right_byte[i]) {
            return left_byte[i] < right_byte[i] ? -1 : 1;
        }
    }
    return 0;
}
