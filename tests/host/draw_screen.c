/* Draws what a capture comes to: draw_screen WIDTH HEIGHT BITS PREFIX < CAPTURE. Writes
 * PREFIX-0.pgm, ...: one for each picture; prints how the codes share the screen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace/screen.h"

static struct photo photo;
static struct qr qr;

static void write_picture(const char *prefix, unsigned number, const uint8_t *bytes,
                          const struct cr3scope_framebuffer *framebuffer) {
    char name[256];
    (void)snprintf(name, sizeof(name), "%s-%u.pgm", prefix, number);
    FILE *file = fopen(name, "wb");
    if (file == NULL) {
        exit(1);
    }
    (void)fprintf(file, "P5 %u %u 255\n", framebuffer->width, framebuffer->height);
    for (uint32_t y = 0; y < framebuffer->height; y++) {
        for (uint32_t x = 0; x < framebuffer->width; x++) {
            (void)fputc(bytes[(size_t)y * framebuffer->pitch + x * (framebuffer->bits / 8)], file);
        }
    }
    (void)fclose(file);
}

int main(int count, char **words) {
    char line[1024];
    struct screen screen;
    struct screen_codes codes;
    if (count != 5) {
        return 2;
    }
    struct cr3scope_framebuffer framebuffer = {.width = (uint32_t)atoi(words[1]),
                                               .height = (uint32_t)atoi(words[2]),
                                               .bits = (uint32_t)atoi(words[3])};
    framebuffer.pitch = framebuffer.width * (framebuffer.bits / 8) + 64;
    uint8_t *bytes = calloc(framebuffer.height, framebuffer.pitch);
    framebuffer.virt = (uint64_t)bytes;
    photo_init(&photo);
    const char *wrong = screen_init(&screen, &framebuffer);
    if (wrong != NULL) {
        (void)printf("%s\n", wrong);
        free(bytes);
        return 1;
    }
    screen_clear(&screen);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        const char *record = strstr(line, "@c3s1 ");
        if (record != NULL) {
            photo_record(&photo, record, strlen(record));
        }
    }
    for (unsigned i = 0; i < 7; i++) {
        screen_text(&screen, "cr3scope: exception 14 error 0x11 at RIP 0xffffffff80000000, CR2 "
                             "0xffffffff80000000: halted");
    }
    screen_codes_plan(&screen, &photo, &codes);
    (void)printf("%zu bytes, lost %u, version %u, module %u, %u x %u, %u frames\n",
                 photo_size(&photo), photo.lost, codes.version, codes.module, codes.columns,
                 codes.rows, codes.frames);
    for (unsigned i = 0; i < screen_codes_pictures(&codes); i++) {
        screen_codes_draw(&screen, &photo, &codes, i, &qr);
        write_picture(words[4], i, bytes, &framebuffer);
    }
    free(bytes);
    return 0;
}
