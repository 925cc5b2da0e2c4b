/** The settings of cr3scope.cfg: `key=value` lines, `#` starts a comment (docs/running.md). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "handoff.h"
#include "message.h"

#define CONFIG_TEXT_BYTES 128
#define CONFIG_DEFAULT_TRACE_FILE "\\cr3scope.trc"

enum config_sink { CONFIG_SINK_UART = 1, CONFIG_SINK_DEBUGCON = 2, CONFIG_SINK_FILE = 4 };

struct config {
    char inject[CONFIG_TEXT_BYTES]; /* list of fault ids; empty: none */
    char trace_file[CONFIG_TEXT_BYTES];
    char kernel[HANDOFF_COMMAND_LINE_BYTES];
    bool preflight_stops;
    bool safe_idt;
    bool identity_full;
    bool debugger_wait; /* spin until a debugger says go on */
    unsigned sinks;     /* of enum config_sink */
    uint16_t uart_port;
    uint64_t fail_allocation; /* the n-th allocation fails, from 1; 0: none */
};

void config_defaults(struct config *config_ret);
/**
 * Reads a whole file over what *config holds. False on the first line that is wrong: `why` names
 * line and word, and the settings before it are in force (the sinks, to tell of it).
 */
bool __attribute__((warn_unused_result))
config_parse(struct config *config, const char *text, size_t bytes, struct message *why);
