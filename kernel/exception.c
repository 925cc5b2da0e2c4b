/*
 * The kernel's side of the exception stubs: a probe that is under way goes on, anything else is the
 * end. Reporting may itself fault (the report's code is not mapped, say): each time less is tried.
 */
#include <stddef.h>

#include "fault_screen.h"
#include "finish.h"
#include "output.h"
#include "probe.h"
#include "report.h"
#include "text.h"
#include "trace/cpu.h"
#include "trace/exception.h"

static unsigned depth; /* exceptions that none of the reports below has outlived */

static void describe(const struct exception_frame *frame, struct text *line_ret) {
    text_set(line_ret, "FAULT vector %lu error %lx cr2 %lx rip %lx rsp %lx", frame->vector,
             frame->error_code, cpu_read_cr2(), frame->rip, frame->rsp);
}

static void report_fault(const struct exception_frame *frame) {
    exception_trace(output_trace(), "kernel", frame);
    struct text line;
    describe(frame, &line);
    output_line(line.bytes);
    report(false, "kernel.unexpected-exception", NULL);
    report_close();
    fault_screen_show(frame, line.bytes);
}

void exception_dispatch(struct exception_frame *frame) {
    if (probe_recover(frame)) {
        return;
    }
    struct text line;
    switch (depth++) {
    case 0:
        report_fault(frame);
        finish(false);
    case 1:
        describe(frame, &line);
        output_last_words(line.bytes);
        finish(false);
    default:
        finish_by_halt();
    }
}
