#include "processors.h"

#include "delay.h"
#include "descriptors.h"
#include "local_apic.h"
#include "output.h"
#include "report.h"
#include "text.h"

/* Intel SDM volume 3A, 10.4.4.1: 10 ms between INIT and the first start-up interrupt, 200 us to the
 * second. */
#define AFTER_INIT_US 10000u
#define AFTER_START_US 200u
#define STEP_US 1000u
#define ARRIVAL_STEPS 1000u
#define CHECKS_STEPS 60000u

static struct processor current;

static bool wait_for(uint32_t state, unsigned steps) {
    for (unsigned step = 0; step < steps && current.state < state; step++) {
        delay_microseconds(STEP_US);
    }
    return current.state >= state;
}

static void fill_arrival(const struct handoff_start *start, uint32_t index) {
    struct handoff_arrival *arrival = (struct handoff_arrival *)(uintptr_t)start->data.virt;
    uint64_t idt_base = descriptors_idt(&arrival->idt_limit);
    for (unsigned word = 0; word < sizeof(arrival->idt_base) / sizeof(arrival->idt_base[0]);
         word++) {
        arrival->idt_base[word] = (uint16_t)(idt_base >> (16 * word));
    }
    arrival->entry = (uint64_t)(uintptr_t)processor_run;
    arrival->stack_top = start->cpus[index].stack_top;
    arrival->argument = (uint64_t)(uintptr_t)&current;
}

static bool start_one(const struct handoff_start *start, uint32_t index) {
    uint32_t apic_id = start->cpus[index].apic_id;
    local_apic_init(&start->local_apic, apic_id);
    delay_microseconds(AFTER_INIT_US);
    local_apic_start(&start->local_apic, apic_id, start->vector);
    delay_microseconds(AFTER_START_US);
    if (current.state == PROCESSOR_AWAITED) {
        local_apic_start(&start->local_apic, apic_id, start->vector);
    }
    return wait_for(PROCESSOR_ARRIVED, ARRIVAL_STEPS);
}

static uint64_t phys_of(const struct handoff *handoff, uint64_t virt) {
    for (uint32_t i = 0; i < handoff->segment_count; i++) {
        const struct handoff_segment *segment = &handoff->segments[i];
        if (virt - segment->virt < segment->memsz) {
            return segment->phys + (virt - segment->virt);
        }
    }
    return 0;
}

void processors_trace_task(const struct boot *boot, uint32_t index) {
    trace_open(output_trace(), "task");
    trace_hex(output_trace(), "cpu", index);
    trace_hex(output_trace(), "tr", DESCRIPTORS_SELECTOR_TSS);
    trace_hex(output_trace(), "phys", phys_of(boot->handoff, descriptors_task(index)));
    trace_close(output_trace());
}

/* If the machine dies now, it is known of which CPU. */
static void trace_starting(uint32_t index) {
    trace_open(output_trace(), "starting");
    trace_hex(output_trace(), "cpu", index);
    trace_close(output_trace());
}

static void check_one(const struct boot *boot, uint32_t index) {
    const struct handoff_start *start = &boot->handoff->start;
    struct text detail;
    text_init(&detail);
    current = (struct processor){.index = index, .boot = boot, .state = PROCESSOR_AWAITED};
    fill_arrival(start, index);
    trace_starting(index);
    bool arrived = start_one(start, index);
    bool done = arrived && wait_for(PROCESSOR_DONE, CHECKS_STEPS);
    if (!done) {
        /* It shall not run wild: INIT holds it. */
        local_apic_init(&start->local_apic, start->cpus[index].apic_id);
        text_set(&detail, "APIC id %x, vector %x: not %s", start->cpus[index].apic_id,
                 start->vector, arrived ? "done with its checks" : "arrived");
    }
    report_on_cpu(index);
    report(done, arrived ? "processor.finished" : "processor.arrived", detail.bytes);
    report_on_cpu(0);
}

void processors_check(const struct boot *boot) {
    const struct handoff_start *start = &boot->handoff->start;
    if (boot->handoff->cpu_count < 2) {
        return;
    }
    if (start->code.bytes == 0 || !local_apic_usable(&start->local_apic)) {
        output_line("NOTE: the other CPUs cannot be started: no memory below 1 MiB, or no APIC");
        return;
    }
    processors_trace_task(boot, 0);
    for (uint32_t index = 1; index < start->cpu_count && index < HANDOFF_MAX_CPUS; index++) {
        if (index == DESCRIPTORS_MAX_CPUS) {
            output_line("NOTE: not every CPU is started: there are descriptor tables for eight");
            return;
        }
        check_one(boot, index);
    }
}
