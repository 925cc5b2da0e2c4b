/** The plan: the accesses from `mov cr3` on, in order, and what preflight says of each. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "trace/message.h"
#include "trace/preflight.h"
#include "trace/trace.h"

#define PLAN_MAX_STEPS 50 /* CR3SCOPE_MOST_ACCESSES, and five of the switch itself */
#define PLAN_NAME_BYTES 40

struct plan_step {
    char name[PLAN_NAME_BYTES];
    struct access access;
    uint64_t rip; /* the instruction that makes the access */
    bool is_push; /* through the stack an address that is not canonical is #SS, not #GP */
    int vector;   /* of an INT instruction, which `access` fetches; -1: it is none */
};

struct access_plan {
    struct plan_step steps[PLAN_MAX_STEPS];
    size_t count; /* further steps are dropped */
};

/** Copies a name to PLAN_NAME_BYTES, cut to what fits: so much fits into any record. */
void plan_name(char *name_ret, const char *name);
/** Adds a step and returns it, for what only some steps have; NULL if PLAN_MAX_STEPS are there: it
 * is dropped. The name is cut to what fits. */
struct plan_step *plan_add(struct access_plan *plan, const char *name, const struct access *access,
                           uint64_t rip);
/** The `plan` records. */
void plan_trace(const struct access_plan *plan, struct trace *trace);

/** One `preflight` record: what a walk says of step `number`. fault NULL: it succeeds. */
void plan_trace_preflight(struct trace *trace, size_t number, const struct access_fault *fault);
/** The same for a person. */
void plan_describe_fault(struct message *line_ret, const struct plan_step *step, size_t number,
                         const struct access_fault *fault);
/** Adds ", level .. entry .. = .." to a line, if the fault has an entry to blame. */
void plan_describe_entry(struct message *line, const struct access_fault *fault);
