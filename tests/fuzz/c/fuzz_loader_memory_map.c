/** The firmware's memory map as the loader reads it: whatever stands in it, the records are whole.
 */
#include "memory_map.h"
#include "support/recording_sink.h"
#include "take.h"
#include "target.h"

static struct recording_sink *recording;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct trace trace;
    if (recording == NULL) {
        recording = recording_sink_new();
    }
    size_t stride = take_number(&take, 1) % 104;
    const struct memory_map map = {.descriptors = take.bytes,
                                   .bytes = take.left,
                                   .descriptor_bytes = stride,
                                   .descriptor_version = 1};
    size_t count = memory_map_count(&map);
    (void)memory_map_end(&map);
    for (size_t i = 0; i < count; i++) {
        struct memory_descriptor descriptor = memory_map_at(&map, i);
        (void)memory_map_is_ram(&map, descriptor.phys);
        (void)memory_map_is_ram(&map, descriptor.phys - 1);
    }
    recording->used = 0;
    recording->bytes[0] = '\0';
    trace_init(&trace);
    REQUIRE(trace_add_sink(&trace, &recording->sink));
    trace_begin(&trace, "fuzz", "1");
    memory_map_trace(&map, &trace);
    REQUIRE(stride >= sizeof(struct memory_descriptor) || count == 0);
    REQUIRE(count == 0 || recording_sink_records(recording) > 1);
    REQUIRE(recording_sink_records(recording) <= count + 1);
    trace_end(&trace, "fuzz", "none");
    for (const char *line = recording->bytes; *line != '\0'; line = strchr(line, '\n') + 1) {
        REQUIRE(strchr(line, '\n') + 1 - line <= TRACE_LINE_BYTES);
    }
    if (target_listener != NULL) {
        target_listener(data, size, recording->bytes, recording->used);
    }
    return 0;
}
