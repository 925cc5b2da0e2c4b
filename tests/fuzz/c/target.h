/**
 * What every target has: libFuzzer's entry point, and a condition that must hold.
 *
 * A target that writes a trace also gives it away, where somebody listens: replay.c does, and a
 * Python process reads what it passes on (tests/fuzz/roundtrip.py).
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** What was written of one input; NULL under libFuzzer. */
extern void (*target_listener)(const void *given, size_t given_bytes, const void *trace,
                               size_t trace_bytes);
