/**
 * Injected faults: what `inject=` does to an otherwise healthy boot (docs/faults.md).
 *
 * A fault is one row of the table in fault_table.c and one small function.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "message.h"

#define FAULTS_AT_ONCE 8

struct mapping;
struct address_space;
struct handoff_arguments;

struct fault {
    const char *id;
    const char *variant; /* "" for the plain form */
    const char *description;
    const char *rule;    /* the finding that must come first */
    const char *outcome; /* what the machine then does, in words */
    /* Each may be NULL. When a range is about to be mapped: false leaves it out. */
    bool (*mapping)(struct mapping *mapping);
    /* When the tables are finished. */
    void (*tables)(struct address_space *space);
    /* When the handoff is about to happen. */
    void (*handoff)(struct handoff_arguments *arguments);
};

struct fault_set {
    const struct fault *faults[FAULTS_AT_ONCE];
    size_t count;
};

extern const struct fault fault_table[];
extern const size_t fault_table_count;

/** list: ids, each `id` or `id:variant`, separated by commas; "" is the empty set. */
bool __attribute__((warn_unused_result))
faults_parse(const char *list, struct fault_set *set_ret, struct message *why);

bool faults_adjust_mapping(const struct fault_set *set, struct mapping *mapping);
void faults_spoil_tables(const struct fault_set *set, struct address_space *space);
void faults_spoil_handoff(const struct fault_set *set, struct handoff_arguments *arguments);
