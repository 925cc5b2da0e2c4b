#include "trace/sinks.h"

#include "trace/port_io.h"

static void debugcon_write(void *context, const char *bytes, size_t count) {
    const struct debugcon_sink *debugcon = (const struct debugcon_sink *)context;
    for (size_t i = 0; i < count; i++) {
        port_out8(debugcon->port, (uint8_t)bytes[i]);
    }
}

void debugcon_sink_resume(struct debugcon_sink *debugcon_ret, uint16_t port) {
    debugcon_ret->sink.name = "debugcon";
    debugcon_ret->sink.write = debugcon_write;
    debugcon_ret->sink.context = debugcon_ret;
    debugcon_ret->port = port;
}

bool debugcon_sink_init(struct debugcon_sink *debugcon_ret, uint16_t port) {
    if (port_in8(port) != DEBUGCON_SIGNATURE) {
        return false;
    }
    debugcon_sink_resume(debugcon_ret, port);
    return true;
}
