/** The byte stream of an open `dump` or `memory`, carried by `d` records, and its numbers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "trace/trace.h"

struct data_stream {
    struct trace *trace;      /* NULL: the bytes are counted and nothing else */
    uint64_t count;           /* bytes put so far; offset of the next one */
    uint32_t crc;             /* CRC-32 over those that were sent */
    size_t pending, capacity; /* of the open `d` record */
};

/** The trace must have no open record, and get none from others, until data_stream_flush. */
void data_stream_init(struct data_stream *stream, struct trace *trace);

void data_stream_byte(struct data_stream *stream, uint8_t byte);
void data_stream_bytes(struct data_stream *stream, const void *bytes, size_t count);
/** Unsigned LEB128. */
void data_stream_varint(struct data_stream *stream, uint64_t value);
/** A difference modulo 2^64, as a signed number folded into a varint: near zero is short. */
void data_stream_difference(struct data_stream *stream, uint64_t difference);

/** Closes the open `d` record. Afterwards `count` and `crc` are those of the whole stream. */
void data_stream_flush(struct data_stream *stream);
