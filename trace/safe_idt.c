/* The safe IDT: whatever happens until the kernel loads its own is told, then the CPU halts. */
#include "switch_screen.h"
#include "switch_state.h"

#define VECTOR_BREAKPOINT 3

static void tell(struct switch_state *state, const struct exception_frame *frame) {
    struct message line;
    size_t sinks = state->trace->sink_count;
    bool has_own = sinks != 0 && state->trace->sinks[sinks - 1] == &state->sink;
    state->trace->sink_count -= has_own ? 1 : 0;
    switch_screen_wait(state);
    exception_trace(state->trace, "safe-idt", frame);
    message_start(&line, "cr3scope: exception ");
    message_decimal(&line, frame->vector);
    message_text(&line, " error ");
    message_hex(&line, frame->error_code);
    message_text(&line, " at RIP ");
    message_hex(&line, frame->rip);
    message_text(&line, ", CR2 ");
    message_hex(&line, cpu_read_cr2());
    message_text(&line, ": halted");
    switch_state_say(state, line.text);
    if (has_own) { /* the caller's own function comes last: it may be gone by now */
        state->sink.write(state->sink.context, state->trace->line, state->trace->length);
        state->sink.write(state->sink.context, line.text, line.length);
        state->sink.write(state->sink.context, "\r\n", 2);
    }
    switch_screen_fault(state, frame, line.text);
}

__attribute__((weak, used)) EXCEPTION_ABI void exception_dispatch(struct exception_frame *frame) {
    struct switch_state *state = (struct switch_state *)safe_tables_context(frame);
    if (frame->vector == VECTOR_BREAKPOINT && state->breakpoint) {
        return; /* the switch's own: it could be delivered, which is all it asks */
    }
    if (!state->in_handler) {
        state->in_handler = true;
        tell(state, frame);
    }
    cpu_halt();
}
