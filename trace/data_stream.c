#include "data_stream.h"

#include "trace/crc32.h"

static const char data_key[] = "b";

void data_stream_init(struct data_stream *stream, struct trace *trace) {
    stream->trace = trace;
    stream->count = 0;
    stream->crc = 0;
    stream->pending = 0;
    stream->capacity = 0;
}

/* Each record is filled to the last byte that fits: what a line costs besides its data is paid
 * rarely. */
static void open_record(struct data_stream *stream) {
    trace_open(stream->trace, "d");
    trace_hex(stream->trace, "o", stream->count);
    stream->capacity = trace_data_room(stream->trace, data_key);
}

void data_stream_flush(struct data_stream *stream) {
    if (stream->pending == 0) {
        return;
    }
    stream->crc = crc32_update(stream->crc, stream->trace->data, stream->pending);
    trace_data(stream->trace, data_key, stream->trace->data, stream->pending);
    trace_close(stream->trace);
    stream->pending = 0;
}

void data_stream_byte(struct data_stream *stream, uint8_t byte) {
    if (stream->trace != NULL) {
        if (stream->pending == 0) {
            open_record(stream);
        }
        stream->trace->data[stream->pending++] = byte;
    }
    stream->count++;
    if (stream->trace != NULL && stream->pending == stream->capacity) {
        data_stream_flush(stream);
    }
}

void data_stream_bytes(struct data_stream *stream, const void *bytes, size_t count) {
    const uint8_t *byte = (const uint8_t *)bytes;
    for (size_t i = 0; i < count; i++) {
        data_stream_byte(stream, byte[i]);
    }
}

void data_stream_varint(struct data_stream *stream, uint64_t value) {
    while (value > 0x7f) {
        data_stream_byte(stream, (uint8_t)(0x80 | (value & 0x7f)));
        value >>= 7;
    }
    data_stream_byte(stream, (uint8_t)value);
}

void data_stream_difference(struct data_stream *stream, uint64_t difference) {
    uint64_t sign = UINT64_C(0) - (difference >> 63);
    data_stream_varint(stream, (difference << 1) ^ sign);
}
