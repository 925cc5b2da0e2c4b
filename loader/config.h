/** The settings of cr3scope.cfg: `key=value` lines, `#` starts a comment (docs/running.md). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handoff.h"
#include "trace/message.h"

#define CONFIG_TEXT_BYTES 128
#define CONFIG_DEFAULT_TRACE_FILE "\\cr3scope.trc"

enum config_sink {
    CONFIG_SINK_UART = 1,
    CONFIG_SINK_DEBUGCON = 2,
    CONFIG_SINK_FILE = 4,
    CONFIG_SINK_SCREEN = 8,
};

/** One bit of one entry of the finished tables, flipped. */
struct config_flip {
    uint64_t virt;  /* the entry is on the path of this address */
    uint64_t level; /* 0: nothing is flipped */
    uint64_t bit;
};

/** What no key asks for: injected faults do (on_config.c). */
struct config_misdeeds {
    bool stale_map_key;        /* ExitBootServices with an old key, its status ignored */
    bool call_after_exit;      /* the console is used after it */
    bool sizeof_descriptors;   /* the memory map is walked in steps of sizeof */
    bool reclaimable_tables;   /* the tables lie in boot-services memory */
    bool other_depth;          /* five levels for a CPU that walks four, and the reverse */
    bool foreign_selector;     /* the safe IDT's gates name a code segment that is not there */
    bool edit_firmware_tables; /* a write into the firmware's live tables */
    bool tables_above_4g;      /* where no CPU can load CR3 from 32-bit code */
};

struct config {
    char inject[CONFIG_TEXT_BYTES]; /* list of fault ids; empty: none */
    char trace_file[CONFIG_TEXT_BYTES];
    char kernel[HANDOFF_COMMAND_LINE_BYTES];
    bool preflight_stops;
    bool safe_idt;
    bool identity_full;
    unsigned identity_level; /* of its leaves: 1 is 4 KiB, 2 is 2 MiB, 3 is 1 GiB */
    bool rehearse;           /* the CPU itself tries the plan before the switch */
    bool breakpoint;         /* an int3 right before the entry */
    bool last_show;          /* the trace outlives a reset, and is shown by the next boot */
    bool debugger_wait;      /* spin until a debugger says go on */
    unsigned sinks;          /* of enum config_sink */
    uint16_t uart_port;
    uint64_t fail_allocation; /* the n-th allocation fails, from 1; 0: none */
    struct config_flip flip;
    struct config_misdeeds misdeeds;
};

/** The settings of a boot without cr3scope.cfg. */
void config_defaults(struct config *config_ret);
/**
 * Reads a whole file over what *config holds. False on the first line that is wrong: `why` names
 * line and word, and the settings before it are in force (the sinks, to tell of it).
 */
bool config_parse(struct config *config, const char *text, size_t bytes, struct message *why)
    __attribute__((warn_unused_result));
