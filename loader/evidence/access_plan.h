/** The plan: every access from `mov cr3` to the kernel's first lines of C, in order. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "kernel/elf.h"
#include "trace/preflight.h"
#include "trace/trace.h"

#define PLAN_MAX_STEPS 48
#define PLAN_NAME_BYTES 40

struct plan_step {
    char name[PLAN_NAME_BYTES];
    struct access access;
    uint64_t rip; /* the instruction that makes the access */
    int vector;   /* of an INT instruction, which `access` fetches; -1: it is none */
};

struct access_plan {
    struct plan_step steps[PLAN_MAX_STEPS];
    size_t count; /* further steps are dropped */
};

/** Where the switch runs and what it hands over. Virtual addresses in the new tables. */
struct plan_addresses {
    uint64_t after_cr3, stack_write, code_end; /* of the trampoline */
    uint64_t breakpoint;                       /* of its int3; 0: it is jumped over */
    int pending_vector; /* of an interrupt that comes before any instruction; -1: none */
    uint64_t stack_top, entry;
    uint64_t info, memory_map, initrd;
    uint64_t framebuffer, framebuffer_bytes; /* 0 bytes: none */
};

/** Makes the plan: the trampoline's accesses, then those that the kernel's ELF notes announce. */
void access_plan_make(struct access_plan *plan_ret, const struct plan_addresses *addresses,
                      const struct elf_image *kernel);
/** The `plan` records. */
void access_plan_trace(const struct access_plan *plan, struct trace *trace);
