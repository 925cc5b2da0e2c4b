#include "probe.h"

#include <stddef.h>

#include "trace/cpu.h"
#include "trace/preflight.h"

extern const char probe_read_instruction[], probe_write_instruction[], probe_push_routine[],
    probe_push_instruction[], probe_fetch_routine[], probe_resume[];
void probe_run(uint64_t virt, uint8_t value, const char *routine);

struct fault {
    bool taken;
    uint64_t vector, error_code, cr2, rip;
};

static volatile bool armed;
static struct fault caught;

bool probe_recover(struct exception_frame *frame) {
    if (!armed) {
        return false;
    }
    armed = false;
    caught = (struct fault){true, frame->vector, frame->error_code, cpu_read_cr2(), frame->rip};
    frame->rip = (uint64_t)(uintptr_t)probe_resume;
    return true;
}

static struct fault run(uint64_t virt, uint8_t value, const char *routine) {
    caught.taken = false;
    armed = true;
    probe_run(virt, value, routine);
    armed = false;
    return caught;
}

static struct fault make(struct probe probe) {
    uint8_t value = 0;
    switch (probe.kind) {
    case PROBE_WRITE:
        if (!run(probe.virt, 0, probe_read_instruction).taken) {
            value = *(const volatile uint8_t *)probe.virt;
        }
        return run(probe.virt, value, probe_write_instruction);
    case PROBE_FETCH:
        return run(probe.virt, 0, probe_fetch_routine);
    case PROBE_PUSH:
        return run(probe.virt, 0, probe_push_routine);
    case PROBE_READ:
    default:
        return run(probe.virt, 0, probe_read_instruction);
    }
}

static const char *const kind_names[] = {"read", "write", "fetch", "push"};

static uint64_t instruction(struct probe probe) {
    const char *const fixed[] = {
        [PROBE_READ] = probe_read_instruction,
        [PROBE_WRITE] = probe_write_instruction,
        [PROBE_FETCH] = NULL,
        [PROBE_PUSH] = probe_push_instruction,
    };
    return probe.kind == PROBE_FETCH ? probe.virt : (uint64_t)(uintptr_t)fixed[probe.kind];
}

static void describe(struct text *detail, struct probe probe, const struct fault *fault) {
    text_set(detail, "%s at %lx", kind_names[probe.kind], probe.virt);
    if (fault->taken) {
        text_add(detail, " raised vector %lu error %lx cr2 %lx rip %lx", fault->vector,
                 fault->error_code, fault->cr2, fault->rip);
    } else {
        text_add(detail, " raised nothing");
    }
}

bool probe_faults(struct probe probe, uint32_t error_code, struct text *detail_ret) {
    struct fault fault = make(probe);
    uint64_t cr2 = probe.kind == PROBE_PUSH ? probe.virt - 8 : probe.virt;
    if (fault.taken && fault.vector == VECTOR_PAGE_FAULT && fault.error_code == error_code &&
        fault.cr2 == cr2 && fault.rip == instruction(probe)) {
        return true;
    }
    describe(detail_ret, probe, &fault);
    text_add(detail_ret, ", not error %x", error_code);
    return false;
}

bool probe_succeeds(struct probe probe, struct text *detail_ret) {
    struct fault fault = make(probe);
    if (fault.taken) {
        describe(detail_ret, probe, &fault);
    }
    return !fault.taken;
}
