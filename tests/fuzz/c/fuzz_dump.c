/** Page-table dumps: all that is reachable, in records that are whole; roundtrip.py reads them. */
#include "pages.h"
#include "support/recording_sink.h"
#include "target.h"
#include "trace/dump.h"

/* To clear room for the most takes longer than the rest: few inputs have it. */
#define MOST_TABLES 16384u
#define SOME_TABLES 100u
#define WITH_MOST 0x64u

static struct pages pages;
static struct recording_sink *recording;
static uint64_t scratch[DUMP_SCRATCH_WORDS(MOST_TABLES)];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct trace trace;
    if (recording == NULL) {
        recording = recording_sink_new();
    }
    uint64_t how = take_number(&take, 1);
    unsigned levels = 4 + (how & 1);
    size_t room = (how & 2) != 0 ? take_number(&take, 2) % 4096
                                 : DUMP_SCRATCH_WORDS((how & WITH_MOST) == WITH_MOST ? MOST_TABLES
                                                                                     : SOME_TABLES);
    pages_fill(&pages, &take);
    uint64_t cr3 = pages.pages[0].phys | (how & 0x18);
    struct physical_memory memory = pages_memory(&pages);
    recording->used = 0;
    recording->bytes[0] = '\0';
    trace_init(&trace);
    REQUIRE(trace_add_sink(&trace, &recording->sink));
    trace_begin(&trace, "fuzz", "1");
    bool fits = dump_fits(cr3, levels, &memory, scratch, room);
    enum dump_status status = dump_write(&trace, "new", cr3, levels, &memory, scratch, room);
    REQUIRE(fits == (status != DUMP_SCRATCH_FULL));
    trace_end(&trace, "fuzz", "none");
    for (const char *line = recording->bytes; *line != '\0'; line = strchr(line, '\n') + 1) {
        REQUIRE(strchr(line, '\n') + 1 - line <= TRACE_LINE_BYTES);
    }
    if (target_listener != NULL) {
        target_listener(pages.pages, pages.count * sizeof(pages.pages[0]), recording->bytes,
                        recording->used);
    }
    return 0;
}
