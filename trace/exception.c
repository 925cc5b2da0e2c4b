#include "trace/exception.h"

#include "trace/cpu.h"

/* Bits of the low half of a gate (Intel SDM volume 3A, section 7.14.1, figure 7-8). */
#define GATE_PRESENT (UINT64_C(1) << 47)
#define GATE_INTERRUPT (UINT64_C(0xe) << 40)
#define GATE_IST_SHIFT 32u
#define GATE_SELECTOR_SHIFT 16u

/* Of a pushed selector only the low 16 bits mean something. */
#define SELECTOR_MASK UINT64_C(0xffff)

void exception_trace(struct trace *trace, const char *by, const struct exception_frame *frame) {
    trace_open(trace, "fault");
    trace_text(trace, "by", by);
    trace_hex(trace, "vector", frame->vector);
    trace_hex(trace, "error", frame->error_code);
    trace_hex(trace, "cr2", cpu_read_cr2());
    trace_hex(trace, "cr3", cpu_read_cr3());
    trace_hex(trace, "rip", frame->rip);
    trace_hex(trace, "rsp", frame->rsp);
    trace_hex(trace, "rflags", frame->rflags);
    trace_hex(trace, "cs", frame->cs & SELECTOR_MASK);
    trace_hex(trace, "ss", frame->ss & SELECTOR_MASK);
    trace_hex(trace, "rax", frame->rax);
    trace_hex(trace, "rbx", frame->rbx);
    trace_hex(trace, "rcx", frame->rcx);
    trace_hex(trace, "rdx", frame->rdx);
    trace_hex(trace, "rsi", frame->rsi);
    trace_hex(trace, "rdi", frame->rdi);
    trace_hex(trace, "rbp", frame->rbp);
    trace_hex(trace, "r8", frame->r8);
    trace_hex(trace, "r9", frame->r9);
    trace_hex(trace, "r10", frame->r10);
    trace_hex(trace, "r11", frame->r11);
    trace_hex(trace, "r12", frame->r12);
    trace_hex(trace, "r13", frame->r13);
    trace_hex(trace, "r14", frame->r14);
    trace_hex(trace, "r15", frame->r15);
    trace_close(trace);
}

void exception_fill_gate(uint64_t gate_ret[2], uint64_t target, uint16_t code_selector,
                         unsigned ist) {
    gate_ret[0] = (target & 0xffff) | (uint64_t)code_selector << GATE_SELECTOR_SHIFT |
                  (uint64_t)(ist & 7) << GATE_IST_SHIFT | GATE_INTERRUPT | GATE_PRESENT |
                  (target & 0xffff0000) << 32;
    gate_ret[1] = target >> 32;
}

void exception_fill_idt(uint64_t gates_ret[2 * EXCEPTION_VECTORS], uint16_t code_selector,
                        unsigned ist) {
    for (size_t vector = 0; vector < EXCEPTION_VECTORS; vector++) {
        exception_fill_gate(&gates_ret[2 * vector], (uint64_t)exception_stubs[vector],
                            code_selector, ist);
    }
}
