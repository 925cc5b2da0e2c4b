/**
 * Records packed small enough for a photo: docs/trace-format.md, "The photo stream".
 *
 * Of finished records bytes are made, from which the same records can be had again; of those cut
 * into frames each is a text for a QR code.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PHOTO_BYTES 6144u
#define PHOTO_FAULT_BYTES 448u
#define PHOTO_KINDS 32u
#define PHOTO_KEYS 30u

struct photo {
    uint8_t bytes[PHOTO_BYTES];
    uint8_t fault[PHOTO_FAULT_BYTES]; /* the first exception's record: it goes first */
    uint16_t used, fault_used;
    uint16_t lost; /* records that did not fit, or are of a kind or key that has no number */
    bool skips;    /* within a dump that is left out */
    uint8_t shapes[PHOTO_KINDS][PHOTO_KEYS]; /* the keys of the last record of each kind */
};

void photo_init(struct photo *photo_ret);
/** Takes one finished record, LF included. What is no record of this format's is ignored. */
void photo_record(struct photo *photo, const char *line, size_t count);
/** Bytes of the stream. */
size_t photo_size(const struct photo *photo);
/** Copies count bytes of the stream from `at` on; both within photo_size. */
void photo_read(const struct photo *photo, size_t at, uint8_t *bytes_ret, size_t count);

/** Keeps the stream in memory that a reset spares, behind a mark, its size and its CRC-32. False if
 * it does not fit: then nothing is there that could be taken for one. */
bool photo_keep(const struct photo *photo, void *memory_ret, size_t bytes);
/** Bytes of the stream that such memory holds, and where; 0: none that is whole. */
size_t photo_kept(const void *memory, size_t bytes, const uint8_t **stream_ret);

/** Frames that a stream needs if a code holds `characters`; 0: more than 255, or too few
 * characters.
 */
unsigned photo_frames(const struct photo *photo, size_t characters);
/** The text of a frame, from 0: at most `characters`, not NUL-terminated; returns its length. */
size_t photo_frame(const struct photo *photo, size_t characters, unsigned number, char *text_ret);
