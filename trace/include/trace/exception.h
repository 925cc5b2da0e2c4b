/** Fault records: an exception that was caught, with the registers (kind `fault`). */
#pragma once

#include <stdint.h>

#include "trace/trace.h"

#define EXCEPTION_VECTORS 256

/** The layout that exception_stubs.S pushes; lowest address first. */
struct exception_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rbp, rdi, rsi, rdx, rcx, rbx, rax;
    uint64_t vector;
    uint64_t error_code; /* 0 where the CPU pushes none */
    uint64_t rip, cs, rflags, rsp, ss;
};

/** `by` is "safe-idt" or "kernel". Reads CR2 and CR3 itself; needs CPL 0. */
void exception_trace(struct trace *trace, const char *by, const struct exception_frame *frame);

/*
 * Hidden: the stubs and their users are linked into one image, and inside the loader, a shared
 * object, neither may be reached through a symbol that a dynamic linker has to resolve.
 */
#define EXCEPTION_HIDDEN __attribute__((visibility("hidden")))
/* What assembly calls, or is called by C, keeps to one convention wherever it is built. */
#ifdef __x86_64__
#define EXCEPTION_ABI __attribute__((sysv_abi))
#else
#define EXCEPTION_ABI
#endif

/**
 * 256 entry stubs, 16 bytes each (exception_stubs.S). Each saves the registers as struct
 * exception_frame and calls exception_dispatch(frame): the library's own (safe_idt.c), unless the
 * program that links it defines another; on its return the (perhaps changed) frame is restored and
 * iretq goes on. Vector and error code are not restored. The handler must not touch vector
 * registers (-mgeneral-regs-only) if the interrupted code is to go on.
 */
extern const char exception_stubs[EXCEPTION_VECTORS][16] EXCEPTION_HIDDEN;
EXCEPTION_ABI void exception_dispatch(struct exception_frame *frame) EXCEPTION_HIDDEN;

/** Writes a present 64-bit interrupt gate to target. ist: 0..7. */
void exception_fill_gate(uint64_t gate_ret[2], uint64_t target, uint16_t code_selector,
                         unsigned ist);
/** Writes an IDT of 256 present 64-bit interrupt gates to the stubs. ist: 0..7, for all. */
void exception_fill_idt(uint64_t gates_ret[2 * EXCEPTION_VECTORS], uint16_t code_selector,
                        unsigned ist);
