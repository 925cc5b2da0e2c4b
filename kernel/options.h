/** The kernel's command line ("kernel=" of cr3scope.cfg): words separated by spaces. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "descriptors.h"

struct options {
    bool halt_only;                   /* "exit=none": do not end QEMU, halt */
    bool stop;                        /* "do=hlt": halt at once, with interrupts off */
    bool spin;                        /* "do=loop": loop at once */
    bool screen;                      /* "screen=on": an unexpected exception is drawn */
    enum descriptors_sharing sharing; /* "tss=busy", "tss=copied": of the boot CPU's TSS */
};

/** Called for each word that no option matches; not NUL-terminated. */
typedef void options_unknown(const char *word, size_t length);

/** Reads at most `limit` bytes of `line`, up to its NUL. */
void options_parse(const char *line, size_t limit, options_unknown *unknown,
                   struct options *options_ret);
