#include "trace/switch.h"

#include "switch_rehearse.h"
#include "switch_screen.h"
#include "switch_state.h"
#include "trace/control_registers.h"
#include "trace/msr.h"

#ifndef CR3SCOPE_VERSION
#define CR3SCOPE_VERSION "unknown"
#endif

void switch_state_say(const struct switch_state *state, const char *line) {
    size_t length = 0;
    while (line[length] != '\0') {
        length++;
    }
    for (size_t i = 0; i < state->trace->sink_count; i++) {
        const struct trace_sink *sink = state->trace->sinks[i];
        sink->write(sink->context, line, length);
        sink->write(sink->context, "\r\n", 2);
    }
}

void switch_state_tell(struct switch_state *state, const struct cr3scope_request *request,
                       const char *line) {
    if (request->tell != NULL) {
        request->tell(request->tell_context, line);
        switch_screen_line(state, line);
    } else {
        switch_state_say(state, line);
    }
}

static void open_sinks(struct switch_state *state, const struct cr3scope_request *request) {
    struct trace *trace = &state->own_trace;
    struct uart_place uart;
    uint16_t debugcon = request->debugcon_port != 0 ? request->debugcon_port : DEBUGCON_PORT;
    uart.base = request->uart_port != 0 ? request->uart_port : UART_COM1;
    uart.stride = uart.width = 0;
    uart.keep_line = false;
#ifdef CR3SCOPE_UART_MEMORY
    if (request->uart_memory != 0) {
        uart.base = request->uart_memory;
        uart.stride = request->uart_stride != 0 ? request->uart_stride : 1;
        uart.width = request->uart_width;
    }
#endif
    trace_init(trace);
    if (uart.base != CR3SCOPE_NO_PORT && uart_sink_init_at(&state->uart, &uart)) {
        (void)trace_add_sink(trace, &state->uart.sink);
    }
    if (debugcon != CR3SCOPE_NO_PORT && debugcon_sink_init(&state->debugcon, debugcon)) {
        (void)trace_add_sink(trace, &state->debugcon.sink);
    }
    state->trace = trace;
    switch_screen_open(state, request);
    if (request->write != NULL) {
        state->sink.name = "caller";
        state->sink.write = request->write;
        state->sink.context = request->write_context;
        (void)trace_add_sink(trace, &state->sink);
    }
}

static void begin(struct switch_state *state, const struct cr3scope_request *request) {
    open_sinks(state, request);
    trace_begin(state->trace, state->producer, CR3SCOPE_VERSION);
    trace_open(state->trace, "config");
    trace_text(state->trace, "preflight", (request->flags & CR3SCOPE_WARN) != 0 ? "warn" : "stop");
    trace_text(state->trace, "safe_idt", (request->flags & CR3SCOPE_SAFE_IDT) != 0 ? "on" : "off");
    trace_text(state->trace, "breakpoint", state->breakpoint ? "on" : "off");
    trace_close(state->trace);
    cpu_trace(state->trace, "entry", &state->cpu);
}

/* What is wrong is the last word; else the promise is. */
static void end(struct switch_state *state, const struct cr3scope_request *request,
                enum cr3scope_status status) {
    bool goes_on = status == CR3SCOPE_OK ||
                   (status == CR3SCOPE_FINDING && (request->flags & CR3SCOPE_WARN) != 0);
    bool traces = (request->flags & CR3SCOPE_KERNEL_TRACES) != 0;
    if (goes_on) {
        trace_end(state->trace, state->producer, traces ? "kernel" : "none");
        return;
    }
    if (status != CR3SCOPE_FINDING) {
        switch_state_tell(state, request, state->why.text);
    }
    trace_error(state->trace, status == CR3SCOPE_FINDING ? "preflight" : "request", state->why.text,
                0);
}

static void prepare(struct switch_state *state, const struct cr3scope_request *request) {
    uint8_t *rest = (uint8_t *)(state + 1);
    const uint8_t *limit = (const uint8_t *)request->buffer + request->buffer_bytes;
    struct paging_state current;
    uint16_t selector = request->gate_selector != 0 ? request->gate_selector : SELECTOR_CODE;
    __builtin_memset(state, 0, sizeof(*state));
    state->scratch = (uint64_t *)(void *)rest;
    state->scratch_words = (size_t)(limit - rest) / 8;
    if (request->scratch != NULL) {
        state->scratch = (uint64_t *)request->scratch;
        state->scratch_words = request->scratch_bytes / 8;
    }
    plan_name(state->producer, request->producer != NULL ? request->producer : "kernel");
    cpu_read(&state->cpu);
    cpu_paging_state(&state->cpu, &current);
    table_reader_init(&state->reader, request, &current);
    safe_tables_fill(&state->safe, selector, state);
    switch_plan_make(state, request);
}

/* Of a switch that is other memory the tables tell why; that stays the reason. Not inlined: its
 * message would lie on the stack of all that follows. */
static __attribute__((noinline)) enum cr3scope_status
trace_contents(struct switch_state *state, const struct cr3scope_request *request,
               enum cr3scope_status status) {
    struct message why = state->why;
    enum cr3scope_status told = switch_evidence_contents(state, request);
    if (status != CR3SCOPE_OK) {
        state->why = why;
        return status;
    }
    return told;
}

static enum cr3scope_status check(const struct cr3scope_request *request, bool rehearses) {
    struct switch_state *state = switch_state_in(request);
    if (state == NULL) {
        return CR3SCOPE_BAD_BUFFER;
    }
    prepare(state, request);
    state->trace = request->begun;
    if (request->begun == NULL) {
        begin(state, request);
    }
    enum cr3scope_status status = switch_request_check(state, request, rehearses);
    if (status == CR3SCOPE_OK) {
        switch_evidence_intent(state, request);
        status = switch_plan_preflight(state, request);
    }
    if (status == CR3SCOPE_OK || status == CR3SCOPE_MOVED) {
        status = trace_contents(state, request, status);
        if (rehearses) {
            switch_rehearse(state, request);
        }
    }
    if (status == CR3SCOPE_OK && state->findings != 0) {
        status = CR3SCOPE_FINDING;
    }
    bool goes_on = status == CR3SCOPE_OK ||
                   (status == CR3SCOPE_FINDING && (request->flags & CR3SCOPE_WARN) != 0);
    if (request->begun == NULL) {
        end(state, request, status);
    }
    switch_screen_checked(state, request, status, goes_on);
    if (goes_on) {
        state->checked = (uint64_t)(uintptr_t)request;
    }
    return status;
}

enum cr3scope_status cr3scope_check(const struct cr3scope_request *request) {
    return check(request, (request->flags & CR3SCOPE_REHEARSE) != 0);
}

enum cr3scope_status cr3scope_rehearse(const struct cr3scope_request *request) {
    return check(request, true);
}

/* All but EFER, which the switch itself loads. */
static void apply_planned_state(const struct switch_state *state) {
    const struct cpu_state *planned = &state->planned;
    if (planned->pat != state->cpu.pat && (state->cpu.features & CPU_PAT) != 0) {
        msr_write(MSR_PAT, planned->pat);
    }
    cpu_write_cr0(planned->cr0);
    cpu_write_cr4(planned->cr4);
}

enum cr3scope_status cr3scope_leave(const struct cr3scope_request *request) {
    struct switch_state *state = switch_state_in(request);
    bool safe_idt = (request->flags & CR3SCOPE_SAFE_IDT) != 0;
    if (state == NULL || state->checked != (uint64_t)(uintptr_t)request) {
        return CR3SCOPE_NOT_CHECKED;
    }
    cpu_interrupts_off();
    apply_planned_state(state);
    if (safe_idt || (request->flags & CR3SCOPE_SAFE_GDT) != 0) {
        safe_tables_load(&state->safe, safe_idt);
    }
    switch_jump(&state->jump);
}

enum cr3scope_status cr3scope_switch(const struct cr3scope_request *request) {
    enum cr3scope_status status = cr3scope_check(request);
    if (status == CR3SCOPE_OK ||
        (status == CR3SCOPE_FINDING && (request->flags & CR3SCOPE_WARN) != 0)) {
        return cr3scope_leave(request);
    }
    return status;
}

const char *cr3scope_reason(const struct cr3scope_request *request) {
    const struct switch_state *state = switch_state_in(request);
    return state != NULL ? state->why.text : "";
}
