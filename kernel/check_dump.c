/* The second dump: the analyzer compares it with the loader's, accessed and dirty bits aside. */
#include "checks.h"
#include "output.h"
#include "report.h"
#include "tables.h"
#include "text.h"
#include "trace/cpu.h"
#include "trace/dump.h"

#define MAX_MEETINGS                                                                               \
    32768 /* of tables: 8 GiB in 4 KiB pages, each met at up to four levels through the slot */

static uint64_t scratch[DUMP_SCRATCH_WORDS(MAX_MEETINGS)];

void check_dump(const struct boot *boot) {
    const struct physical_memory memory = tables_memory(boot->handoff);
    enum dump_status status =
        dump_write(output_trace(), "after", cpu_read_cr3(), boot->handoff->levels, &memory, scratch,
                   sizeof(scratch) / sizeof(scratch[0]));
    struct text detail;
    text_set(&detail, "status %u", (unsigned)status);
    report(status == DUMP_OK, "dump.whole", status == DUMP_OK ? NULL : detail.bytes);
}
