/**
 * QR codes (ISO/IEC 18004): alphanumeric mode, error correction level M, versions 1 to 25.
 *
 * An encoder of its own, because none is freestanding and allocates nothing.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QR_MAX_VERSION 25u
#define QR_MOST_CHARACTERS 1451u /* of that version */
#define QR_MAX_SIDE (17u + 4u * QR_MAX_VERSION)
/* Around a code, in modules: without it no reader finds it (7.3.8). */
#define QR_QUIET 4u

struct qr {
    unsigned version, side;                             /* side: in modules */
    uint8_t dark[(QR_MAX_SIDE * QR_MAX_SIDE + 7) / 8];  /* a bit a module, row by row */
    uint8_t words[(QR_MAX_SIDE * QR_MAX_SIDE + 7) / 8]; /* code words, in the order of placement */
    uint8_t data[(QR_MAX_SIDE * QR_MAX_SIDE + 7) / 8];
    char text[QR_MOST_CHARACTERS]; /* for the caller, who has to put it somewhere */
};

/** Modules of a side of a version, 1 to QR_MAX_VERSION. */
unsigned qr_side(unsigned version);
/** Characters that a version holds. */
size_t qr_capacity(unsigned version);
/** Makes the code of count characters in qr_ret->text. False if a character is none of the mode's
 * 45, or they are more than the version holds; then the rest of *qr_ret is of no use. */
bool qr_make(struct qr *qr_ret, unsigned version, size_t count) __attribute__((warn_unused_result));
/** Whether the module at column x and row y is dark; both below side. */
bool qr_is_dark(const struct qr *qr, unsigned x, unsigned y);
