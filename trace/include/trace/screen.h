/** A linear frame buffer as a place for text and QR codes: black and white, whatever its pixels
 * are. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/photo.h"
#include "trace/qr.h"
#include "trace/switch.h"

/* Less does not hold the text, more no screen has. */
#define SCREEN_FEWEST_PIXELS 320u
#define SCREEN_MOST_PIXELS 16384u

struct screen {
    uint8_t *first; /* of the upper left pixel */
    uint32_t width, height, pitch, pixel_bytes;
    uint32_t scale;  /* of a dot of the font, in pixels */
    uint32_t line;   /* the next one, in lines of text */
    uint32_t column; /* in characters */
};

/** Takes a frame buffer; nothing is drawn. Returns NULL, or what is wrong with it; then *screen_ret
 * is untouched. */
const char *screen_init(struct screen *screen_ret, const struct cr3scope_framebuffer *framebuffer)
    __attribute__((warn_unused_result));
/** Bytes from the first to the last that may be drawn on. */
uint64_t screen_bytes(const struct screen *screen);
/** Makes all of it black; the next line of text is the first. */
void screen_clear(struct screen *screen);
/** Draws a line of text, cut into as many lines as it takes; what is below the last is dropped. A
 * byte outside printable ASCII is a question mark. */
void screen_text(struct screen *screen, const char *text);

/** How the codes of a stream share what is left below the text. */
struct screen_codes {
    uint32_t version, module; /* of each code; pixels of a module */
    uint32_t columns, rows;   /* of codes, at once */
    uint32_t frames;          /* of them all; 0: not one code has room */
};

/** Chooses: as few pictures as can be, then the largest modules. */
void screen_codes_plan(const struct screen *screen, const struct photo *photo,
                       struct screen_codes *codes_ret);
/** Pictures that it takes to show all frames. */
uint32_t screen_codes_pictures(const struct screen_codes *codes);
/** Draws those of one picture, from 0, over what was there. `qr` is overwritten. */
void screen_codes_draw(const struct screen *screen, const struct photo *photo,
                       const struct screen_codes *codes, uint32_t picture, struct qr *qr);
