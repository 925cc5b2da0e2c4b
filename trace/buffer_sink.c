#include "trace/sinks.h"

/* Once full it stays so: what came after a hole would be no trace. */
static void buffer_write(void *context, const char *bytes, size_t count) {
    struct buffer_sink *buffer = (struct buffer_sink *)context;
    for (size_t i = 0; i < count; i++) {
        if (buffer->used == buffer->size) {
            buffer->dropped += count - i;
            return;
        }
        buffer->bytes[buffer->used++] = bytes[i];
    }
}

void buffer_sink_init(struct buffer_sink *buffer_ret, char *bytes, uint64_t size) {
    buffer_ret->sink.name = "buffer";
    buffer_ret->sink.write = buffer_write;
    buffer_ret->sink.context = buffer_ret;
    buffer_ret->bytes = bytes;
    buffer_ret->size = size;
    buffer_ret->used = 0;
    buffer_ret->dropped = 0;
}
