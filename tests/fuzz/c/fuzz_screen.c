/** Any frame buffer, any bytes on the sink: what is drawn stays inside, what is kept is found
 * again. */
#include <stdlib.h>

#include "take.h"
#include "target.h"
#include "trace/screen_sink.h"

/* Most of the time goes into pixels, and few show as much as many. Codes of many modules need a
 * large one: some inputs may have it, by a sum that libFuzzer cannot learn to prefer. */
#define USUAL_WIDTH 352u
#define USUAL_HEIGHT 184u
#define MOST_SIDE 700u
#define LARGE_ONE_IN 64u

static struct screen_sink sink;
static struct qr qr;
static struct photo again;
static uint8_t kept[PHOTO_KEPT_BYTES];

static void check_kept(void) {
    struct photo_kept found;
    size_t bytes = photo_keep(&sink.photo, sink.text, sink.used, kept, sizeof(kept));
    REQUIRE(bytes != 0 && photo_kept(kept, bytes, &found));
    REQUIRE(photo_adopt(&again, found.stream, found.stream_bytes));
}

static void feed(struct take *take) {
    while (take->left > 0) {
        size_t count = 0;
        while (count < take->left && take->bytes[count] != '\n') {
            count++;
        }
        count += count < take->left ? 1 : 0;
        sink.sink.write(&sink, (const char *)take->bytes, count);
        take->bytes += count;
        take->left -= count;
    }
}

static bool may_be_large(const uint8_t *data, size_t size) {
    uint32_t sum = 0;
    for (size_t i = 0; i < size; i++) {
        sum = sum * 31 + data[i];
    }
    return sum % LARGE_ONE_IN == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct screen screen;
    struct cr3scope_framebuffer framebuffer = {
        .virt = UINT64_MAX / 2,
        .width = (uint32_t)take_number(&take, 2),
        .height = (uint32_t)take_number(&take, 2),
    };
    uint32_t padding = (uint32_t)take_number(&take, 1);
    framebuffer.bits = (uint32_t)take_number(&take, 1);
    framebuffer.pitch = framebuffer.width * (framebuffer.bits / 8) + padding;
    uint32_t picture = (uint32_t)take_number(&take, 2);
    uint8_t *bytes = NULL;
    bool is_large = may_be_large(data, size);
    bool is_drawn = screen_init(&screen, &framebuffer) == NULL &&
                    framebuffer.width <= (is_large ? MOST_SIDE : USUAL_WIDTH) &&
                    framebuffer.height <= (is_large ? MOST_SIDE : USUAL_HEIGHT);
    if (is_drawn) {
        bytes = malloc(screen_bytes(&screen));
        screen.first = bytes;
    }
    screen_sink_init(&sink, is_drawn ? &screen : NULL);
    feed(&take);
    REQUIRE(screen_sink_show(&sink, picture, &qr) >= 1);
    check_kept();
    free(bytes);
    return 0;
}
