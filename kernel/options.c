#include "options.h"

static void exit_none(struct options *options) {
    options->halt_only = true;
}

static void do_hlt(struct options *options) {
    options->stop = true;
}

static void do_loop(struct options *options) {
    options->spin = true;
}

static void screen_on(struct options *options) {
    options->screen = true;
}

static void tss_busy(struct options *options) {
    options->sharing = DESCRIPTORS_SAME_ENTRY;
}

static void tss_copied(struct options *options) {
    options->sharing = DESCRIPTORS_COPIED;
}

static const struct {
    const char *word;
    void (*apply)(struct options *options);
} words[] = {
    {"exit=none", exit_none}, {"do=hlt", do_hlt},     {"do=loop", do_loop},
    {"screen=on", screen_on}, {"tss=busy", tss_busy}, {"tss=copied", tss_copied},
};

static bool is_word(const char *expected, const char *word, size_t length) {
    size_t i = 0;
    while (i < length && expected[i] != '\0' && expected[i] == word[i]) {
        i++;
    }
    return i == length && expected[i] == '\0';
}

static bool apply(const char *word, size_t length, struct options *options) {
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (is_word(words[i].word, word, length)) {
            words[i].apply(options);
            return true;
        }
    }
    return false;
}

void options_parse(const char *line, size_t limit, options_unknown *unknown,
                   struct options *options_ret) {
    struct options options = {0};
    size_t end = 0;
    while (end < limit && line[end] != '\0') {
        size_t start = end;
        while (end < limit && line[end] != '\0' && line[end] != ' ') {
            end++;
        }
        if (end != start && !apply(&line[start], end - start, &options)) {
            unknown(&line[start], end - start);
        }
        if (end < limit && line[end] == ' ') {
            end++;
        }
    }
    *options_ret = options;
}
