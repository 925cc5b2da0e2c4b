#include "evidence/processors.h"

#include "boot.h"
#include "handoff/ap_start.h"
#include "trace/dump.h"

static void trace_cpu(struct boot *boot, uint32_t index) {
    const struct handoff_cpu *cpu = &boot->info->start.cpus[index];
    trace_open(&boot->trace, "ap");
    trace_hex(&boot->trace, "cpu", index);
    trace_hex(&boot->trace, "apic_id", cpu->apic_id);
    trace_hex(&boot->trace, "stack", cpu->stack_top);
    trace_close(&boot->trace);
}

void processors_trace(struct boot *boot) {
    const struct handoff_start *start = &boot->info->start;
    const struct ap_start_data *data = ap_start_data(boot);
    if (data == NULL) {
        return;
    }
    uint64_t bytes = ap_start_code_bytes();
    uint64_t same = ap_start_difference(boot);
    trace_open(&boot->trace, "startup");
    trace_hex(&boot->trace, "vector", start->vector);
    trace_hex(&boot->trace, "code", start->code.phys);
    trace_hex(&boot->trace, "data", start->data.phys);
    trace_hex(&boot->trace, "later", sizeof(data->arrival));
    if (same < bytes) {
        trace_hex(&boot->trace, "differs", start->code.phys + same);
    }
    trace_close(&boot->trace);
    for (uint32_t i = 1; i < start->cpu_count; i++) {
        trace_cpu(boot, i);
    }
    memory_write(&boot->trace, "ap-code", "handoff", start->code.phys,
                 (const void *)(uintptr_t)start->code.phys, bytes, 0);
    memory_write(&boot->trace, "ap-data", "handoff", start->data.phys, data, sizeof(*data), 0);
}
