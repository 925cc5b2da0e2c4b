#include "handoff/switch_buffer.h"

#include "trace/switch.h"

/* Walks have scratch memory of their own: firmware has as many tables as it likes. */
static uint8_t buffer[CR3SCOPE_BUFFER_FOR(0)] __attribute__((aligned(4096)));

uint64_t switch_buffer_first_page(void) {
    return (uint64_t)buffer;
}

size_t switch_buffer_bytes(void) {
    return sizeof(buffer);
}
