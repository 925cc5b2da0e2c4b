/* The kernel's own segments: contents, and rights proved by taking the fault. */
#include "checks.h"
#include "entry_contract.h"
#include "page_probe.h"
#include "report.h"
#include "segment.h"
#include "text.h"
#include "trace/paging.h"

static const char *segment_name(const struct handoff_segment *segment) {
    if ((segment->flags & SEGMENT_EXECUTABLE) != 0) {
        return "text";
    }
    return (segment->flags & SEGMENT_WRITABLE) != 0 ? "data" : "rodata";
}

static void report_part(bool passed, const char *segment, const char *what,
                        const struct text *detail) {
    struct text name;
    text_set(&name, "%s.%s", segment, what);
    report(passed, name.bytes, detail->bytes);
}

/* Whole pages: the loader's rounding gives the rest of the last page the same rights. */
static struct virt_range whole_pages(const struct handoff_segment *segment) {
    uint64_t last = segment->virt + (segment->memsz - 1);
    return (struct virt_range){segment->virt & ~(PAGE_BYTES - 1), last | (PAGE_BYTES - 1)};
}

static void check_segment(const struct handoff_segment *segment) {
    const char *name = segment_name(segment);
    struct virt_range range = whole_pages(segment);
    struct text detail;
    report_part(pages_succeed(range, PROBE_READ, &detail), name, "readable", &detail);
    if ((segment->flags & SEGMENT_WRITABLE) != 0) {
        report_part(pages_succeed(range, PROBE_WRITE, &detail), name, "writable", &detail);
    } else {
        report_part(pages_fault(range, PROBE_WRITE, ERROR_WRITE_DENIED, &detail), name,
                    "not-writable", &detail);
    }
    if ((segment->flags & SEGMENT_EXECUTABLE) != 0) {
        report_part(pages_succeed(range, PROBE_FETCH, &detail), name, "executable", &detail);
    } else {
        report_part(pages_fault(range, PROBE_FETCH, ERROR_FETCH_DENIED, &detail), name,
                    "not-executable", &detail);
    }
}

void check_segments(const struct boot *boot) {
    struct text detail;
    text_set(&detail, "first word that is not zero: %lx", boot->entry->bss_nonzero);
    report(boot->entry->bss_nonzero == 0, "bss.zero",
           boot->entry->bss_nonzero != 0 ? detail.bytes : NULL);

    text_set(&detail, "%lx", ~entry_data);
    report(~entry_data == ENTRY_DATA_MARK, "data.initialised", detail.bytes);

    check_segment_rights(boot);
}

void check_segment_rights(const struct boot *boot) {
    for (uint32_t i = 0; i < boot->handoff->segment_count; i++) {
        if (boot->handoff->segments[i].memsz != 0) {
            check_segment(&boot->handoff->segments[i]);
        }
    }
}
