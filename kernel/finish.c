#include "finish.h"

#include "output.h"
#include "trace/port_io.h"

/* -device isa-debug-exit,iobase=0xf4: QEMU's exit status is (value << 1) | 1. */
#define DEBUG_EXIT_PORT 0xf4
#define DEBUG_EXIT_PASS 0x10
#define DEBUG_EXIT_FAIL 0x11

static bool halt_only;

void finish_only_halts(bool only) {
    halt_only = only;
}

_Noreturn void finish_by_halt(void) {
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

_Noreturn void finish(bool passed) {
    output_drain();
    if (!halt_only) {
        port_out8(DEBUG_EXIT_PORT, passed ? DEBUG_EXIT_PASS : DEBUG_EXIT_FAIL);
    }
    finish_by_halt();
}
