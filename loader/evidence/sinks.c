#include "evidence/sinks.h"

#include "boot.h"

#define BUFFER_PAGES 128u

static bool open_buffer(struct boot *boot) {
    uint64_t phys;
    if (!boot->pages.allocate(boot->pages.context, "the trace file's buffer", BUFFER_PAGES, &phys,
                              &boot->why)) {
        return boot_refuse(boot, "trace");
    }
    buffer_sink_init(&boot->buffer, (char *)(uintptr_t)phys, BUFFER_PAGES * PAGE_BYTES);
    boot->has_buffer = trace_add_sink(&boot->trace, &boot->buffer.sink);
    return true;
}

bool sinks_open(struct boot *boot) {
    unsigned wanted = boot->config.sinks;
    trace_init(&boot->trace);
    if ((wanted & CONFIG_SINK_UART) != 0 && uart_sink_init(&boot->uart, boot->config.uart_port)) {
        boot->has_uart = trace_add_sink(&boot->trace, &boot->uart.sink);
    }
    /* A machine without a serial port may still have a debug console. */
    if ((wanted & CONFIG_SINK_DEBUGCON) != 0 ||
        ((wanted & CONFIG_SINK_UART) != 0 && !boot->has_uart)) {
        if (debugcon_sink_init(&boot->debugcon, DEBUGCON_PORT)) {
            boot->has_debugcon = trace_add_sink(&boot->trace, &boot->debugcon.sink);
        }
    }
    return (wanted & CONFIG_SINK_FILE) == 0 || open_buffer(boot);
}
