/** The kernel's command line: words lie in it, and its end is kept. */
#include "../../../kernel/options.h"
#include "target.h"

static const char *first;
static size_t most;

static void note_unknown(const char *word, size_t length) {
    REQUIRE(length > 0 && word >= first && (size_t)(word - first) + length <= most);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct options options;
    first = (const char *)data;
    most = size;
    options_parse(first, size, note_unknown, &options);
    return 0;
}
