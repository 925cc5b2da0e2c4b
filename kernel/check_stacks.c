/* Every CPU's stack: usable as a whole, never executable, and fenced on both sides. */
#include "checks.h"
#include "page_probe.h"
#include "report.h"
#include "text.h"

static struct virt_range usable(const struct handoff_stacks *stacks, uint32_t index) {
    return virt_range(stacks->virt + index * stacks->stride + stacks->guard_bytes,
                      stacks->usable_bytes);
}

/* Reads and writes just outside, at the far end of the guard, and the push that overflows. */
static bool is_guarded(const struct handoff_stacks *stacks, uint32_t index, struct text *detail) {
    uint64_t bottom = usable(stacks, index).first;
    uint64_t guard = bottom - stacks->guard_bytes;
    return probe_faults((struct probe){PROBE_READ, bottom - 1}, ERROR_READ_ABSENT, detail) &&
           probe_faults((struct probe){PROBE_WRITE, bottom - 1}, ERROR_WRITE_ABSENT, detail) &&
           probe_faults((struct probe){PROBE_READ, guard}, ERROR_READ_ABSENT, detail) &&
           probe_faults((struct probe){PROBE_WRITE, guard}, ERROR_WRITE_ABSENT, detail) &&
           probe_faults((struct probe){PROBE_PUSH, bottom}, ERROR_WRITE_ABSENT, detail);
}

static bool is_writable(const struct handoff_stacks *stacks, uint32_t index, struct text *detail) {
    return pages_succeed(usable(stacks, index), PROBE_READ, detail) &&
           pages_succeed(usable(stacks, index), PROBE_WRITE, detail);
}

static bool is_no_code(const struct handoff_stacks *stacks, uint32_t index, struct text *detail) {
    return pages_fault(usable(stacks, index), PROBE_FETCH, ERROR_FETCH_DENIED, detail);
}

static void check_each(const struct boot *boot, const char *name,
                       bool (*holds)(const struct handoff_stacks *, uint32_t, struct text *)) {
    struct text detail;
    uint32_t index = 0;
    while (index < boot->handoff->cpu_count && holds(&boot->handoff->stacks, index, &detail)) {
        index++;
    }
    bool passed = index == boot->handoff->cpu_count;
    struct text line;
    if (passed) {
        text_set(&line, "%u stacks", index);
    } else {
        text_set(&line, "stack %u: %s", index, detail.bytes);
    }
    report(passed, name, line.bytes);
}

void check_stacks(const struct boot *boot) {
    const struct handoff_stacks *stacks = &boot->handoff->stacks;
    check_each(boot, "stacks.writable", is_writable);
    check_each(boot, "stacks.not-executable", is_no_code);
    check_each(boot, "stacks.guard", is_guarded);

    struct text detail;
    uint64_t end = stacks->virt + boot->handoff->cpu_count * stacks->stride;
    text_init(&detail);
    bool fenced =
        probe_faults((struct probe){PROBE_READ, stacks->virt - 1}, ERROR_READ_ABSENT, &detail) &&
        probe_faults((struct probe){PROBE_READ, end}, ERROR_READ_ABSENT, &detail);
    report(fenced, "stacks.outside-unmapped", detail.bytes);
}
