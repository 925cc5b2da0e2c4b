#include "page_probe.h"

#include "trace/paging.h"

#define RET_OPCODE 0xc3u
#define MAX_FAULTS 32u /* in one range: each costs QEMU's interrupt log 1.4 KB */

/* Part of the range that lies in the page of `virt`. */
static struct virt_range clip(struct virt_range range, uint64_t virt) {
    uint64_t page_last = virt | (PAGE_BYTES - 1);
    return (struct virt_range){virt, page_last < range.last ? page_last : range.last};
}

/* A `ret` to call, so that a fetch that should fault but does not comes back unharmed. */
static bool find_ret(struct virt_range part, uint64_t *virt_ret) {
    for (uint64_t offset = 0; offset <= part.last - part.first; offset++) {
        if (*(const volatile uint8_t *)(part.first + offset) == RET_OPCODE) {
            *virt_ret = part.first + offset;
            return true;
        }
    }
    return false;
}

void pages_call(struct virt_range range) {
    struct virt_range part = clip(range, range.first);
    for (;;) {
        uint64_t virt;
        if (find_ret(part, &virt)) {
            ((void (*)(void))(uintptr_t)virt)();
        }
        if (part.last == range.last) {
            return;
        }
        part = clip(range, part.last + 1);
    }
}

/* True if there is something to probe in this part of a page. */
static bool choose(struct virt_range part, enum probe_kind kind, bool expect_fault,
                   struct probe *probe_ret) {
    *probe_ret = (struct probe){kind, part.first};
    struct text ignored;
    bool readable = probe_succeeds((struct probe){PROBE_READ, part.first}, &ignored);
    return kind != PROBE_FETCH || (readable && find_ret(part, &probe_ret->virt)) || expect_fault;
}

static uint64_t page_number(uint64_t virt) {
    return virt / PAGE_BYTES;
}

/* From one probed page to the next: 1 for what is small, and never more than MAX_FAULTS pages in
 * all. */
static uint64_t fault_step(struct virt_range range) {
    uint64_t pages = page_number(range.last) - page_number(range.first) + 1;
    return (pages + MAX_FAULTS - 2) / (MAX_FAULTS - 1);
}

/* The part `step` pages on, or the last one if that is nearer. */
static struct virt_range next_part(struct virt_range range, struct virt_range part, uint64_t step) {
    uint64_t left = page_number(range.last) - page_number(part.first);
    uint64_t page = page_number(part.first) + (step < left ? step : left);
    return clip(range, page * PAGE_BYTES);
}

static bool each_page(struct virt_range range, enum probe_kind kind, const uint32_t *error_code,
                      struct text *detail_ret) {
    uint64_t pages = 0;
    uint64_t step = error_code != NULL ? fault_step(range) : 1;
    struct virt_range part = clip(range, range.first);
    for (;;) {
        struct probe probe;
        if (choose(part, kind, error_code != NULL, &probe)) {
            bool as_expected = error_code != NULL ? probe_faults(probe, *error_code, detail_ret)
                                                  : probe_succeeds(probe, detail_ret);
            if (!as_expected) {
                return false;
            }
            pages++;
        }
        if (part.last == range.last) {
            text_set(detail_ret, "%lu pages", pages);
            return true;
        }
        part = next_part(range, part, step);
    }
}

bool pages_succeed(struct virt_range range, enum probe_kind kind, struct text *detail_ret) {
    return each_page(range, kind, NULL, detail_ret);
}

bool pages_fault(struct virt_range range, enum probe_kind kind, uint32_t error_code,
                 struct text *detail_ret) {
    return each_page(range, kind, &error_code, detail_ret);
}
