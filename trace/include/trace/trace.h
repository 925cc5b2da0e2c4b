/**
 * The trace: records on one or more byte sinks (docs/trace-format.md).
 *
 * Freestanding; no allocation, no globals: all state is in the caller's struct trace. Not
 * reentrant: one record is open at a time. Nothing here fails: a sink that cannot take bytes drops
 * them and remembers it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_LINE_BYTES 512
/* With which each record begins, and nothing else on the wire may. */
#define TRACE_SENTINEL "@c3s"
#define TRACE_MAX_SINKS 4

/** Where bytes go. `write` must return in bounded time. Sink and context are the caller's. */
struct trace_sink {
    const char *name; /* for the `close` record */
    void (*write)(void *context, const char *bytes, size_t count);
    void *context;
};

/** Position in the stream; handed from the loader to the kernel. */
struct trace_position {
    uint64_t bytes;    /* on the wire so far, LF included */
    uint32_t sequence; /* of the next record */
    uint32_t crc;      /* CRC-32 over all records so far */
};

struct trace {
    const struct trace_sink *sinks[TRACE_MAX_SINKS];
    size_t sink_count;
    struct trace_position position;
    char line[TRACE_LINE_BYTES]; /* the open record */
    size_t length;
    enum {
        TRACE_LIST_CLOSED,
        TRACE_LIST_EMPTY,
        TRACE_LIST_FILLED
    } list;        /* the last field, if it is a list */
    bool overflow; /* a field of the open record did not fit: the record goes without it */
};

/** Empties the state; no sinks, position zero. */
void trace_init(struct trace *trace);
/** Like trace_init, but goes on where another writer stopped. */
void trace_resume(struct trace *trace, const struct trace_position *position);
/** The sink must outlive the trace. False if TRACE_MAX_SINKS are in use. */
bool trace_add_sink(struct trace *trace, const struct trace_sink *sink);
/** Writes a `close` record to this sink alone (the position does not move) and removes it. */
void trace_close_sink(struct trace *trace, const struct trace_sink *sink);

/*
 * One record: open, fields, close. `kind` and `key` are literals in the format's grammar. A record
 * that was opened and not closed is forgotten by the next trace_open: so an exception may interrupt
 * a writer.
 */
void trace_open(struct trace *trace, const char *kind);
void trace_hex(struct trace *trace, const char *key, uint64_t value);
/** Escapes what the format wants escaped; text may be NULL (an empty value). */
void trace_text(struct trace *trace, const char *key, const char *text);
/** Base64 of count bytes. trace_data_room() says how many fit. */
void trace_data(struct trace *trace, const char *key, const void *bytes, size_t count);
/** Bytes of data that a field of this key can still carry in the open record. */
size_t trace_data_room(const struct trace *trace, const char *key);
/** Opens a list field; the calls of trace_item that follow fill it. */
void trace_list(struct trace *trace, const char *key);
/** One item, escaped as text is. False if it does not fit: the list stays as it was. */
bool trace_item(struct trace *trace, const char *text) __attribute__((warn_unused_result));
/** Sends the record to every sink. */
void trace_close(struct trace *trace);

/** The first record of a boot: the position starts at zero. */
void trace_begin(struct trace *trace, const char *producer, const char *version);
/** The first record of a writer that goes on with the trace of another. */
void trace_section(struct trace *trace, const char *producer);
/** `next`: the producer that must follow, or "none". */
void trace_end(struct trace *trace, const char *producer, const char *next);
/** The writer gives up. status 0: there is none. Of a text that does not fit the end is cut. */
void trace_error(struct trace *trace, const char *where, const char *what, uint64_t status);
