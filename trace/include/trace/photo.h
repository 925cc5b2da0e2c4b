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

#define PHOTO_BYTES 8192u
#define PHOTO_HEAD_BYTES 3u /* of a stream: its version, how many records are left out */
#define PHOTO_FAULT_BYTES 448u
#define PHOTO_KINDS 36u /* their numbers begin at 1 */
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

/** Whether bytes are a stream of this version, and no longer than one. */
bool photo_is_stream(const uint8_t *stream, size_t count);
/** Takes over a stream, as photo_read gives it. False if it is none. */
bool photo_adopt(struct photo *photo_ret, const uint8_t *stream, size_t count)
    __attribute__((warn_unused_result));

/** Room for a stream and its text, whatever they are. */
#define PHOTO_KEPT_BYTES 11264u

/** What photo_keep has left: both point into its memory. */
struct photo_kept {
    const uint8_t *stream;
    const char *text; /* lines, each NUL-terminated; the last perhaps cut */
    size_t stream_bytes, text_bytes;
};

/** Keeps a stream and lines of text in memory that a reset spares, behind a mark, their sizes and
 * their CRC-32; a text too long is cut. Returns the bytes written; 0: the stream does not fit. */
size_t photo_keep(const struct photo *photo, const char *text, size_t text_bytes, void *memory_ret,
                  size_t bytes);
/** Finds what was kept. False if it is not there, or not whole: then *kept_ret is untouched. */
bool photo_kept(const void *memory, size_t bytes, struct photo_kept *kept_ret)
    __attribute__((warn_unused_result));

/** Frames that a stream needs if a code holds `characters`; 0: more than 255, or too few
 * characters.
 */
unsigned photo_frames(const struct photo *photo, size_t characters);
/** The text of a frame, from 0: at most `characters`, not NUL-terminated; returns its length. */
size_t photo_frame(const struct photo *photo, size_t characters, unsigned number, char *text_ret);
