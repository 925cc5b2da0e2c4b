/* The initial RAM disk: the bytes that the loader read, as data. */
#include "checks.h"
#include "page_probe.h"
#include "report.h"
#include "text.h"
#include "trace/crc32.h"

void check_initrd(const struct boot *boot) {
    const struct handoff_range *initrd = &boot->handoff->initrd;
    struct text detail;
    if (initrd->bytes == 0) {
        report(false, "initrd.readable", "no bytes");
        return;
    }
    struct virt_range range = virt_range(initrd->virt, initrd->bytes);
    bool readable = pages_succeed(range, PROBE_READ, &detail);
    report(readable, "initrd.readable", detail.bytes);
    if (!readable) {
        return;
    }
    uint32_t crc = crc32_update(0, (const void *)(uintptr_t)initrd->virt, initrd->bytes);
    text_set(&detail, "crc %x, the loader's %x", crc, boot->handoff->initrd_crc);
    report(crc == boot->handoff->initrd_crc, "initrd.crc", detail.bytes);
    report(pages_fault(range, PROBE_WRITE, ERROR_WRITE_DENIED, &detail), "initrd.not-writable",
           detail.bytes);
    report(pages_fault(range, PROBE_FETCH, ERROR_FETCH_DENIED, &detail), "initrd.not-executable",
           detail.bytes);
}
