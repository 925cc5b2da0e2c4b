/* The frame buffer: whole, writable, and real memory at all four corners. */
#include "checks.h"
#include "page_probe.h"
#include "report.h"
#include "text.h"

#define PIXEL_BYTES 4u
#define PIXEL_MASK 0x00ffffffu /* the fourth byte need not be kept */

static uint64_t pixel_offset(const struct handoff_framebuffer *framebuffer, uint32_t x,
                             uint32_t y) {
    return ((uint64_t)y * framebuffer->pixels_per_line + x) * PIXEL_BYTES;
}

/* Two complementary patterns, then what was there before. */
static bool keeps_pixels(volatile uint32_t *pixel) {
    static const uint32_t patterns[] = {0x005aa5c3, 0x00a55a3c};
    uint32_t before = *pixel;
    bool kept = true;
    for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        *pixel = patterns[i];
        kept = (*pixel & PIXEL_MASK) == patterns[i] && kept;
    }
    *pixel = before;
    return kept;
}

static void check_corners(const struct handoff_framebuffer *framebuffer) {
    const uint32_t xs[] = {0, framebuffer->width - 1};
    const uint32_t ys[] = {0, framebuffer->height - 1};
    struct text detail;
    text_init(&detail);
    bool kept = true;
    for (unsigned i = 0; i < 4 && kept; i++) {
        uint32_t x = xs[i % 2], y = ys[i / 2];
        uint64_t virt = framebuffer->range.virt + pixel_offset(framebuffer, x, y);
        kept = keeps_pixels((volatile uint32_t *)virt);
        if (!kept) {
            text_set(&detail, "pixel %u,%u at %lx does not keep what is written", x, y, virt);
        }
    }
    report(kept, "framebuffer.keeps-pixels", detail.bytes);
}

void check_framebuffer(const struct boot *boot) {
    const struct handoff_framebuffer *framebuffer = &boot->handoff->framebuffer;
    if (framebuffer->format == HANDOFF_PIXEL_NONE) {
        report(framebuffer->range.bytes == 0, "framebuffer.none", NULL);
        return;
    }
    struct text detail;
    bool holds = framebuffer->width != 0 && framebuffer->height != 0 &&
                 framebuffer->pixels_per_line >= framebuffer->width &&
                 pixel_offset(framebuffer, framebuffer->width, framebuffer->height - 1) <=
                     framebuffer->range.bytes;
    text_set(&detail, "%u x %u, %u a line, in %lx bytes", framebuffer->width, framebuffer->height,
             framebuffer->pixels_per_line, framebuffer->range.bytes);
    report(holds, "framebuffer.holds-picture", detail.bytes);
    if (!holds) {
        return;
    }
    struct virt_range range = virt_range(framebuffer->range.virt, framebuffer->range.bytes);
    bool writable = pages_succeed(range, PROBE_WRITE, &detail);
    report(writable, "framebuffer.writable", detail.bytes);
    text_init(&detail);
    report(probe_faults((struct probe){PROBE_FETCH, range.first}, ERROR_FETCH_DENIED, &detail),
           "framebuffer.not-executable", detail.bytes);
    if (writable) {
        check_corners(framebuffer);
    }
}
