#include "words.h"

static uint64_t stride_at(const struct word_plane *plane, size_t index) {
    return plane->word(plane->context, index + 1) - plane->word(plane->context, index);
}

/* How many words from `start` on follow one another at a constant stride. */
static size_t run_length(const struct word_plane *plane, size_t start) {
    size_t left = plane->count - start;
    if (left < 3) {
        return left;
    }
    uint64_t stride = stride_at(plane, start);
    size_t length = 2;
    while (length < left && stride_at(plane, start + length - 1) == stride) {
        length++;
    }
    return length;
}

void words_encode(struct data_stream *stream, const struct word_plane *plane) {
    uint64_t previous = 0;
    for (size_t start = 0; start < plane->count;) {
        size_t length = run_length(plane, start);
        uint64_t first = plane->word(plane->context, start);
        uint64_t stride = length > 1 ? stride_at(plane, start) : 0;
        data_stream_varint(stream, (uint64_t)length << 1 | (stride != 0));
        data_stream_difference(stream, first - previous);
        if (stride != 0) {
            data_stream_difference(stream, stride);
        }
        start += length;
        previous = first + (length - 1) * stride;
    }
}
