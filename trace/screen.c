#include "trace/screen.h"

#include "screen_font.h"

#define GLYPH_WIDTH 8u
#define GLYPH_HEIGHT 16u
/* A screen of so many pixels more has its text drawn twice as large, then three times. */
#define PIXELS_A_SCALE 720u
#define MARGIN 1u /* lines and characters that stay free */

const char *screen_init(struct screen *screen_ret, const struct cr3scope_framebuffer *framebuffer) {
    uint32_t bytes = framebuffer->bits / 8;
    uint64_t last = framebuffer->virt + (uint64_t)framebuffer->pitch * framebuffer->height - 1;
    if (framebuffer->virt == 0) {
        return "it has no address";
    }
    if (framebuffer->width < SCREEN_FEWEST_PIXELS || framebuffer->width > SCREEN_MOST_PIXELS ||
        framebuffer->height < SCREEN_FEWEST_PIXELS / 2 ||
        framebuffer->height > SCREEN_MOST_PIXELS) {
        return "its width or height is below 320 x 160 or above 16384";
    }
    if (framebuffer->bits != 16 && framebuffer->bits != 24 && framebuffer->bits != 32) {
        return "its pixels have neither 16, 24 nor 32 bits";
    }
    if (framebuffer->pitch < framebuffer->width * bytes ||
        framebuffer->pitch > SCREEN_MOST_PIXELS * 4) {
        return "its pitch is shorter than a line, or longer than any";
    }
    if (last < framebuffer->virt) {
        return "it wraps around the end of the address space";
    }
    screen_ret->first = (uint8_t *)(uintptr_t)framebuffer->virt;
    screen_ret->width = framebuffer->width;
    screen_ret->height = framebuffer->height;
    screen_ret->pitch = framebuffer->pitch;
    screen_ret->pixel_bytes = bytes;
    screen_ret->scale = 1 + framebuffer->height / (2 * PIXELS_A_SCALE);
    screen_ret->line = screen_ret->column = 0;
    return NULL;
}

uint64_t screen_bytes(const struct screen *screen) {
    return (uint64_t)screen->pitch * (screen->height - 1) +
           (uint64_t)screen->width * screen->pixel_bytes;
}

/* White is all ones in every format of direct colour, black all zeros. Whole words where they fit:
 * video memory takes each store by itself. */
static void fill(const struct screen *screen, uint32_t x, uint32_t y, uint32_t width,
                 uint32_t height, bool white) {
    uint64_t value = white ? ~UINT64_C(0) : 0;
    for (uint32_t row = y; row < y + height; row++) {
        uint8_t *at =
            screen->first + (uint64_t)row * screen->pitch + (uint64_t)x * screen->pixel_bytes;
        uint64_t left = (uint64_t)width * screen->pixel_bytes;
        while (left > 0) {
            if (left >= 8 && ((uintptr_t)at & 7) == 0) {
                *(volatile uint64_t *)(void *)at = value;
                at += 8;
                left -= 8;
            } else {
                *(volatile uint8_t *)at++ = (uint8_t)value;
                left--;
            }
        }
    }
}

void screen_clear(struct screen *screen) {
    fill(screen, 0, 0, screen->width, screen->height, false);
    screen->line = MARGIN;
    screen->column = 0;
}

static void draw_glyph(const struct screen *screen, char character, uint32_t x, uint32_t y) {
    bool is_known = character >= ' ' && character <= '~';
    const uint8_t *rows = screen_font[(is_known ? character : '?') - ' '];
    for (uint32_t row = 0; row < GLYPH_HEIGHT; row++) {
        for (uint32_t column = 0; column < GLYPH_WIDTH; column++) {
            if ((rows[row] >> (GLYPH_WIDTH - 1 - column) & 1) != 0) {
                fill(screen, x + column * screen->scale, y + row * screen->scale, screen->scale,
                     screen->scale, true);
            }
        }
    }
}

void screen_text(struct screen *screen, const char *text) {
    uint32_t width = GLYPH_WIDTH * screen->scale, height = GLYPH_HEIGHT * screen->scale;
    uint32_t columns = screen->width / width - 2 * MARGIN;
    for (; *text != '\0'; text++) {
        if (screen->column == columns) {
            screen->column = 0;
            screen->line++;
        }
        if ((screen->line + 1) * height > screen->height) {
            return;
        }
        draw_glyph(screen, *text, (MARGIN + screen->column++) * width, screen->line * height);
    }
    screen->column = 0;
    screen->line++;
}

/* --- Codes --------------------------------------------------------------------------------- */

#define FEWEST_MODULE_PIXELS 4u
#define MOST_MODULE_PIXELS 16u

static uint32_t top_of(const struct screen *screen) {
    uint32_t top = screen->line * GLYPH_HEIGHT * screen->scale;
    return top < screen->height ? top : screen->height;
}

static uint32_t side_of(const struct screen_codes *codes) {
    return (qr_side(codes->version) + 2 * QR_QUIET) * codes->module;
}

uint32_t screen_codes_pictures(const struct screen_codes *codes) {
    uint32_t at_once = codes->columns * codes->rows;
    return codes->frames == 0 ? 0 : (codes->frames + at_once - 1) / at_once;
}

static bool is_better(const struct screen_codes *codes, const struct screen_codes *best) {
    uint32_t pictures = screen_codes_pictures(codes), least = screen_codes_pictures(best);
    if (pictures == 0 || least == 0 || pictures != least) {
        return pictures != 0 && (least == 0 || pictures < least);
    }
    if (codes->module != best->module) {
        return codes->module > best->module;
    }
    return codes->frames < best->frames;
}

void screen_codes_plan(const struct screen *screen, const struct photo *photo,
                       struct screen_codes *codes_ret) {
    uint32_t height = screen->height - top_of(screen);
    struct screen_codes best = {0, 0, 0, 0, 0};
    for (uint32_t version = 1; version <= QR_MAX_VERSION; version++) {
        unsigned frames = photo_frames(photo, qr_capacity(version));
        for (uint32_t module = FEWEST_MODULE_PIXELS; module <= MOST_MODULE_PIXELS; module++) {
            struct screen_codes codes = {version, module, 0, 0, frames};
            codes.columns = screen->width / side_of(&codes);
            codes.rows = height / side_of(&codes);
            if (codes.columns != 0 && codes.rows != 0 && frames != 0 && is_better(&codes, &best)) {
                best = codes;
            }
        }
    }
    *codes_ret = best;
}

static void draw_code(const struct screen *screen, const struct qr *qr, uint32_t module,
                      uint32_t left, uint32_t top) {
    uint32_t side = (qr->side + 2 * QR_QUIET) * module;
    fill(screen, left, top, side, side, true);
    for (uint32_t y = 0; y < qr->side; y++) {
        for (uint32_t x = 0; x < qr->side; x++) {
            uint32_t run = 0;
            while (x + run < qr->side && qr_is_dark(qr, x + run, y)) {
                run++;
            }
            if (run != 0) {
                fill(screen, left + (QR_QUIET + x) * module, top + (QR_QUIET + y) * module,
                     run * module, module, false);
                x += run;
            }
        }
    }
}

void screen_codes_draw(const struct screen *screen, const struct photo *photo,
                       const struct screen_codes *codes, uint32_t picture, struct qr *qr) {
    uint32_t side = side_of(codes), top = top_of(screen);
    uint32_t first = picture * codes->columns * codes->rows;
    fill(screen, 0, top, screen->width, screen->height - top, false);
    for (uint32_t i = 0; i < codes->columns * codes->rows && first + i < codes->frames; i++) {
        size_t characters = qr_capacity(codes->version);
        size_t count = photo_frame(photo, characters, first + i, qr->text);
        if (qr_make(qr, codes->version, count)) {
            draw_code(screen, qr, codes->module, i % codes->columns * side,
                      top + i / codes->columns * side);
        }
    }
}
