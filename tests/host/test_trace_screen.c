/** Frame buffers of no use are refused; what is drawn stays inside; what is kept is found whole or
 * not at all. */
#include "support/cmocka_test.h"

#include <stdlib.h>
#include <string.h>

#include "trace/screen_sink.h"

static struct photo photo;
static struct qr qr;
static struct screen_sink sink;

static struct cr3scope_framebuffer healthy(void) {
    return (struct cr3scope_framebuffer){0x1000, 800, 600, 3200, 32};
}

static void refused(struct cr3scope_framebuffer framebuffer) {
    struct screen screen = {.width = 7};
    assert_non_null(screen_init(&screen, &framebuffer));
    assert_int_equal(screen.width, 7);
}

static void frame_buffers_of_no_use_are_refused(void **state) {
    (void)state;
    struct screen screen;
    struct cr3scope_framebuffer one = healthy();
    assert_null(screen_init(&screen, &one));
    one.virt = 0, refused(one), one = healthy();
    one.width = 0, refused(one), one = healthy();
    one.height = 0, refused(one), one = healthy();
    one.width = 0xffffffff, refused(one), one = healthy();
    one.height = 0xffffffff, refused(one), one = healthy();
    one.bits = 8, refused(one), one = healthy();
    one.bits = 0, refused(one), one = healthy();
    one.pitch = 3199, refused(one), one = healthy();
    one.pitch = 0xffffffff, refused(one), one = healthy();
    one.virt = UINT64_MAX - 100, refused(one);
}

/* A buffer of exactly its size: the sanitizer sees a byte beyond. Between the lines nothing is
 * changed. */
static void draw(uint32_t width, uint32_t height, uint32_t bits, uint32_t padding) {
    struct cr3scope_framebuffer framebuffer = {0, width, height, width * (bits / 8) + padding,
                                               bits};
    struct screen screen;
    size_t size = (size_t)framebuffer.pitch * (height - 1) + (size_t)width * (bits / 8);
    uint8_t *bytes = malloc(size);
    memset(bytes, 0x5a, size);
    framebuffer.virt = (uint64_t)bytes;
    assert_null(screen_init(&screen, &framebuffer));
    assert_int_equal(screen_bytes(&screen), size);
    screen_sink_init(&sink, &screen);
    static const char record[] = "@c3s1 0 begin producer=a version=0.1 #00000000\n";
    sink.sink.write(&sink, record, sizeof(record) - 1);
    for (unsigned i = 0; i < 40; i++) {
        screen_sink_line(&sink, "a line that is rather long, \x1b[31m and not only of letters ~");
    }
    (void)screen_sink_show(&sink, 0, &qr);
    (void)screen_sink_show(&sink, 1000000, &qr);
    for (uint32_t y = 0; y + 1 < height; y++) {
        for (uint32_t x = width * (bits / 8); x < framebuffer.pitch; x++) {
            assert_int_equal(bytes[(size_t)y * framebuffer.pitch + x], 0x5a);
        }
    }
    free(bytes);
}

static void drawing_stays_inside(void **state) {
    (void)state;
    draw(320, 160, 16, 3);
    draw(321, 201, 24, 1);
    draw(640, 480, 32, 0);
    draw(1366, 768, 32, 40);
}

static void a_short_text_leaves_room_for_a_code(void **state) {
    (void)state;
    struct cr3scope_framebuffer framebuffer = {0, 800, 600, 3200, 32};
    uint8_t *bytes = calloc(600, 3200);
    struct screen screen;
    struct screen_codes codes;
    framebuffer.virt = (uint64_t)bytes;
    assert_null(screen_init(&screen, &framebuffer));
    screen_clear(&screen);
    photo_init(&photo);
    photo_record(&photo, "@c3s1 0 begin producer=a version=1 #0\n", 38);
    screen_codes_plan(&screen, &photo, &codes);
    assert_int_equal(codes.frames, 1);
    assert_true(codes.module >= 4);
    free(bytes);
}

static void records_without_a_number_or_room_are_counted(void **state) {
    (void)state;
    photo_init(&photo);
    photo_record(&photo, "@c3s1 0 strange a=b #0\n", 23);
    photo_record(&photo, "@c3s1 0 begin strange=b #0\n", 27);
    assert_int_equal(photo.lost, 2);
    photo_record(&photo, "chatter\n", 8);
    photo_record(&photo, "", 0);
    photo_record(&photo, "@c3s1 ", 6);
    assert_true(photo.lost <= 3 && photo.used == 0);
    for (unsigned i = 0; i < 2000; i++) {
        photo_record(&photo, "@c3s1 0 begin producer=some version=words #0\n", 45);
    }
    assert_true(photo.lost > 2 && photo.used <= PHOTO_BYTES);
    photo.lost = UINT16_MAX; /* never "none" again */
    photo_record(&photo, "@c3s1 0 strange a=b #0\n", 23);
    assert_int_equal(photo.lost, UINT16_MAX);
}

static void record(const char *line) {
    photo_record(&photo, line, strlen(line));
}

static void a_dump_without_an_end_leaves_out_nothing_else(void **state) {
    (void)state;
    photo_init(&photo);
    record("@c3s1 0 dump id=old cr3=1000 levels=4 #0\n");
    record("@c3s1 1 d o=0 b=AAAA #0\n");
    assert_int_equal(photo.used, 0);
    record("@c3s1 2 error where=dump what=full #0\n");
    size_t used = photo.used;
    assert_true(used != 0);
    record("@c3s1 3 memory name=code phys=1000 #0\n");
    record("@c3s1 4 d o=0 b=AAAA #0\n");
    record("@c3s1 5 fault by=safe-idt vector=e #0\n");
    assert_true(photo.used > used + 8 && photo.fault_used != 0 && photo.lost == 0);
    used = photo.used;
    record("@c3s1 6 dump id=old cr3=1000 levels=4 #0\n");
    record("@c3s1 7 dump-end id=old pages=1 bytes=0 crc=0 #0\n");
    assert_int_equal(photo.used, used);
}

static void a_full_stream_with_an_exception_is_adopted(void **state) {
    (void)state;
    static uint8_t stream[PHOTO_KEPT_BYTES], copy[PHOTO_KEPT_BYTES];
    static struct photo again;
    photo_init(&photo);
    while (photo.lost == 0) {
        record("@c3s1 0 begin producer=some version=words #0\n");
    }
    record("@c3s1 1 fault by=safe-idt vector=e error=3 #0\n");
    size_t size = photo_size(&photo);
    assert_true(photo.fault_used != 0 && size > PHOTO_HEAD_BYTES + PHOTO_BYTES);
    photo_read(&photo, 0, stream, size);
    assert_true(photo_adopt(&again, stream, size));
    assert_int_equal(photo_size(&again), size);
    photo_read(&again, 0, copy, size);
    assert_memory_equal(copy, stream, size);
    assert_false(
        photo_adopt(&again, stream, PHOTO_HEAD_BYTES + PHOTO_FAULT_BYTES + PHOTO_BYTES + 1));
}

static void what_is_kept_is_found_whole_or_not_at_all(void **state) {
    (void)state;
    static uint8_t memory[PHOTO_KEPT_BYTES];
    struct photo_kept kept;
    photo_init(&photo);
    photo_record(&photo, "@c3s1 0 begin producer=a version=1 #0\n", 38);
    size_t bytes = photo_keep(&photo, "line", 5, memory, sizeof(memory));
    assert_true(photo_kept(memory, bytes, &kept));
    assert_int_equal(kept.stream_bytes, photo_size(&photo));
    assert_string_equal(kept.text, "line");
    assert_false(photo_kept(memory, bytes - 1, &kept));
    for (size_t i = 0; i < bytes; i++) {
        memory[i] ^= 1;
        assert_false(photo_kept(memory, bytes, &kept));
        memory[i] ^= 1;
    }
    assert_int_equal(photo_keep(&photo, "line", 5, memory, 20), 0);
    struct photo again;
    assert_true(photo_adopt(&again, kept.stream, kept.stream_bytes));
    assert_int_equal(photo_size(&again), photo_size(&photo));
    assert_false(photo_adopt(&again, kept.stream, 2));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_buffers_of_no_use_are_refused),
        cmocka_unit_test(drawing_stays_inside),
        cmocka_unit_test(a_short_text_leaves_room_for_a_code),
        cmocka_unit_test(records_without_a_number_or_room_are_counted),
        cmocka_unit_test(a_dump_without_an_end_leaves_out_nothing_else),
        cmocka_unit_test(a_full_stream_with_an_exception_is_adopted),
        cmocka_unit_test(what_is_kept_is_found_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
