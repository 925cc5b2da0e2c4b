/**
 * A sink that draws: it keeps the records for QR codes and the lines between them for people, and
 * shows both when it is told to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "trace/photo.h"
#include "trace/screen.h"
#include "trace/trace.h"

#define SCREEN_SINK_TEXT_BYTES 2048u

struct screen_sink {
    struct trace_sink sink;
    struct screen screen;
    struct photo photo;
    bool waits; /* bytes are dropped: they come later, by screen_sink_take */
    uint32_t used;
    char text[SCREEN_SINK_TEXT_BYTES]; /* lines, each NUL-terminated */
};

/** screen NULL: there is none, nothing is drawn, records and lines are kept all the same. */
void screen_sink_init(struct screen_sink *sink_ret, const struct screen *screen);
/** That of a trace; NULL: it has none. */
struct screen_sink *screen_sink_of(const struct trace *trace);
/** What the sink is told: a record, or a piece of text between records. */
void screen_sink_take(struct screen_sink *sink, const char *bytes, size_t count);
/** One more line to be drawn; beyond SCREEN_SINK_TEXT_BYTES they are dropped. */
void screen_sink_line(struct screen_sink *sink, const char *line);
/** Forgets the lines. */
void screen_sink_forget_lines(struct screen_sink *sink);
/** Draws everything anew, of several pictures the one of this number (counted round); returns how
 * many there are: at least 1. `qr` is overwritten. */
uint32_t screen_sink_show(struct screen_sink *sink, uint32_t picture, struct qr *qr);
