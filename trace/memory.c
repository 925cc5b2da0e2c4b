#include "trace/dump.h"

#include "data_stream.h"
#include "words.h"

/* Words `first`, `first` + step, ... of bytes that need not be aligned; zero bytes beyond their
 * end. */
struct strided_words {
    const uint8_t *bytes;
    size_t count;
    size_t first;
    size_t step;
};

static uint64_t strided_word(const void *context, size_t index) {
    const struct strided_words *words = (const struct strided_words *)context;
    size_t start = (words->first + index * words->step) * 8;
    uint64_t word = 0;
    for (size_t i = 0; i < 8 && start + i < words->count; i++) {
        word |= (uint64_t)words->bytes[start + i] << (8 * i);
    }
    return word;
}

static void encode_planes(struct data_stream *stream, const void *bytes, size_t count,
                          unsigned planes) {
    size_t words = (count + 7) / 8;
    for (unsigned plane = 0; plane < planes; plane++) {
        const struct strided_words strided = {(const uint8_t *)bytes, count, plane, planes};
        struct word_plane coded;
        coded.word = strided_word;
        coded.context = &strided;
        coded.count = words > plane ? (words - plane + planes - 1) / planes : 0;
        words_encode(stream, &coded);
    }
}

void memory_write(struct trace *trace, const char *name, const char *when, uint64_t virt,
                  const void *bytes, size_t count, unsigned planes) {
    struct data_stream stream;
    data_stream_init(&stream, NULL);
    encode_planes(&stream, bytes, count, planes);
    if (stream.count >= count || planes > (count + 7) / 8) {
        planes = 0;
    }

    trace_open(trace, "memory");
    trace_text(trace, "name", name);
    trace_text(trace, "when", when);
    trace_hex(trace, "virt", virt);
    trace_hex(trace, "length", count);
    trace_hex(trace, "words", planes);
    trace_close(trace);

    data_stream_init(&stream, trace);
    if (planes == 0) {
        data_stream_bytes(&stream, bytes, count);
    } else {
        encode_planes(&stream, bytes, count, planes);
    }
    data_stream_flush(&stream);

    trace_open(trace, "memory-end");
    trace_text(trace, "name", name);
    trace_hex(trace, "bytes", stream.count);
    trace_hex(trace, "crc", stream.crc);
    trace_close(trace);
}
