/** Fault records: an exception that was caught, with the registers (kind `fault`). */
#pragma once

#include <stdint.h>

#include "trace/trace.h"

/** The layout that exception_stubs.S pushes; lowest address first. */
struct exception_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector;
    uint64_t error_code; /* 0 where the CPU pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
};

/** `by` is "safe-idt" or "kernel". Reads CR2 and CR3 itself. */
void exception_trace(struct trace *trace, const char *by, const struct exception_frame *frame);

/**
 * 256 entry stubs, 16 bytes each (exception_stubs.S). Each saves the registers as struct exception_frame and
 * calls exception_dispatch(frame), which the program that links the library defines; on its return the
 * (perhaps changed) frame is restored and iretq goes on.
 */
extern const char exception_stubs[256][16];
void exception_dispatch(struct exception_frame *frame);

/** Writes a 256-gate IDT of present 64-bit interrupt gates to the stubs. ist: 0..7 for all vectors. */
void exception_fill_idt(uint64_t gates_ret[512], uint16_t code_selector, unsigned ist);
