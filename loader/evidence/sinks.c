#include "evidence/sinks.h"

#include "boot.h"
#include "evidence/serial.h"

#define BUFFER_PAGES 128u
#define SINKS_PIXEL_BYTES 4u /* of both formats of struct handoff_framebuffer */

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

/* Intel SDM volume 2A, CPUID: bit 31 of leaf 1's ECX is 0 on every real CPU. */
static bool is_virtual(void) {
    uint32_t eax = 1, ebx, ecx = 0, edx;
    __asm__ volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (ecx >> 31) != 0;
}

/* The firmware maps video memory one to one. A real machine without a serial port draws unasked; a
 * virtual one has a port for the asking, and who watches it would take a handler that shows
 * pictures in turn for one that hangs. */
static void open_screen(struct boot *boot) {
    const struct handoff_framebuffer *found = &boot->framebuffer;
    struct screen screen;
    bool is_only = (boot->config.sinks & CONFIG_SINK_UART) != 0 && !boot->has_uart &&
                   !boot->has_debugcon && !is_virtual();
    bool is_wanted = (boot->config.sinks & CONFIG_SINK_SCREEN) != 0 || is_only;
    struct cr3scope_framebuffer framebuffer = {
        .virt = found->range.phys,
        .width = found->width,
        .height = found->height,
        .pitch = found->pixels_per_line * SINKS_PIXEL_BYTES,
        .bits = SINKS_PIXEL_BYTES * 8,
    };
    boot->has_screen = is_wanted && found->format != HANDOFF_PIXEL_NONE &&
                       screen_init(&screen, &framebuffer) == NULL;
    if (boot->has_screen || boot->config.last_show) {
        screen_sink_init(&boot->screen, boot->has_screen ? &screen : NULL);
        (void)trace_add_sink(&boot->trace, &boot->screen.sink);
    }
}

bool sinks_open(struct boot *boot) {
    unsigned wanted = boot->config.sinks;
    trace_init(&boot->trace);
    if ((wanted & CONFIG_SINK_UART) != 0) {
        serial_open(boot);
    }
    /* A machine without a serial port may still have a debug console. */
    if ((wanted & CONFIG_SINK_DEBUGCON) != 0 ||
        ((wanted & CONFIG_SINK_UART) != 0 && !boot->has_uart && !boot->has_firmware_serial)) {
        if (boot->config.debugcon_port != DEBUGCON_PORT) { /* no other can be probed */
            debugcon_sink_resume(&boot->debugcon, boot->config.debugcon_port);
            boot->has_debugcon = trace_add_sink(&boot->trace, &boot->debugcon.sink);
        } else if (debugcon_sink_init(&boot->debugcon, DEBUGCON_PORT)) {
            boot->has_debugcon = trace_add_sink(&boot->trace, &boot->debugcon.sink);
        }
    }
    open_screen(boot);
    return (wanted & CONFIG_SINK_FILE) == 0 || open_buffer(boot);
}
