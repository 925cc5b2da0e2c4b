#include "report.h"

#include <stddef.h>

#include "output.h"
#include "text.h"

static unsigned passed_count;
static unsigned failed_count;
static uint32_t cpu_number;

void report_on_cpu(uint32_t cpu) {
    cpu_number = cpu;
}

void report(bool passed, const char *name, const char *detail) {
    struct trace *trace = output_trace();
    trace_open(trace, "check");
    trace_text(trace, "name", name);
    trace_text(trace, "outcome", passed ? "pass" : "fail");
    if (cpu_number != 0) {
        trace_hex(trace, "cpu", cpu_number);
    }
    if (!passed && detail != NULL) {
        trace_text(trace, "detail", detail);
    }
    trace_close(trace);

    struct text line;
    text_set(&line, "%s ", passed ? "PASS" : "FAIL");
    if (cpu_number != 0) {
        text_add(&line, "CPU %u ", cpu_number);
    }
    text_add(&line, "%s", name);
    if (detail != NULL && detail[0] != '\0') {
        text_add(&line, ": %s", detail);
    }
    output_line(line.bytes);
    if (passed) {
        passed_count++;
    } else {
        failed_count++;
    }
}

bool report_close(void) {
    struct trace *trace = output_trace();
    trace_open(trace, "summary");
    trace_hex(trace, "pass", passed_count);
    trace_hex(trace, "fail", failed_count);
    trace_close(trace);
    trace_end(trace, "kernel", "none");

    struct text line;
    text_set(&line, "SUMMARY: %u passed, %u failed", passed_count, failed_count);
    output_line(line.bytes);
    return failed_count == 0 && passed_count != 0;
}
