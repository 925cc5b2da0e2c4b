/** Accesses that may fault: made on purpose, recovered from, and compared with what the tables
 * promise. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "text.h"
#include "trace/exception.h"

#define ERROR_READ_ABSENT                                                                          \
    0x00u /* page-fault error codes (SDM volume 3A, 5.7): P 0, W/R 1, I/D 4                        \
           */
#define ERROR_WRITE_ABSENT 0x02u
#define ERROR_WRITE_DENIED 0x03u
#define ERROR_FETCH_DENIED 0x11u

enum probe_kind {
    PROBE_READ,  /* one byte */
    PROBE_WRITE, /* the byte that is there already; where it cannot be read, 0 */
    PROBE_FETCH, /* a call; if the byte is no `ret` and the fetch succeeds, anything may follow */
    PROBE_PUSH,  /* eight bytes of zero with RSP = virt, so below virt */
};

struct probe {
    enum probe_kind kind;
    uint64_t virt;
};

/** True if the access raises #PF with this error code, at its own address and instruction. */
bool probe_faults(struct probe probe, uint32_t error_code, struct text *detail_ret);
/** True if the access raises nothing. */
bool probe_succeeds(struct probe probe, struct text *detail_ret);

/** For exception_dispatch: true if a probe was under way; the frame then leads back to it. */
bool probe_recover(struct exception_frame *frame);
