/** What the steps of the one call pass on to each other: it lies in the caller's buffer. */
#pragma once

#include "switch_jump.h"
#include "table_reader.h"
#include "trace/cpu.h"
#include "trace/message.h"
#include "trace/plan.h"
#include "trace/safe_tables.h"
#ifdef CR3SCOPE_SCREEN
#include "trace/screen_sink.h"
#endif
#include "trace/sinks.h"
#include "trace/switch.h"
#include "trace/trace.h"

struct switch_state {
    struct safe_tables safe; /* first: the buffer's first whole page */
    uint64_t checked;        /* the address of the request that may be switched to; 0: none */
    struct trace *trace;
    struct trace own_trace;
    struct uart_sink uart;
    struct debugcon_sink debugcon;
    struct trace_sink sink; /* the caller's function */
#ifdef CR3SCOPE_SCREEN
    struct screen_sink screen;
    bool keeps; /* the request's `keep` is of use */
#endif
    char producer[PLAN_NAME_BYTES];
    struct cpu_state cpu;       /* now */
    struct cpu_state planned;   /* in the instant after mov cr3 */
    struct paging_state paging; /* of the planned state */
    struct access_plan plan;
    struct table_reader reader;
    struct switch_target jump;
    uint64_t *scratch;
    size_t scratch_words;
    size_t findings;
    bool has_root;      /* there is a top table: what is behind it can be told */
    struct message why; /* the first finding, or why the request is refused */
    bool breakpoint;    /* one is expected on the way */
    bool in_handler;
};

/** The state in the request's buffer; NULL if that is too small. */
struct switch_state *switch_state_in(const struct cr3scope_request *request);

/** A line for a person, beside the records: it begins behind a record's LF with its own words. */
void switch_state_say(const struct switch_state *state, const char *line);
/** The same where the request wants it. */
void switch_state_tell(struct switch_state *state, const struct cr3scope_request *request,
                       const char *line);

/** Holds the request against what the call demands; else the reason is in state->why. */
enum cr3scope_status switch_request_check(struct switch_state *state,
                                          const struct cr3scope_request *request, bool rehearses);

/** Whether the scratch memory is of use, and the tables in force can be read: by the callback, or
 * where physical_offset has them. Overwrites the scratch memory. */
bool switch_request_reads(struct switch_state *state, const struct cr3scope_request *request);

/** The planned state, the jump, the plan. After state->cpu. */
void switch_plan_make(struct switch_state *state, const struct cr3scope_request *request);
/** Traces and walks the plan, the ranges, and what the safe IDT needs; counts and tells findings.
 */
enum cr3scope_status switch_plan_preflight(struct switch_state *state,
                                           const struct cr3scope_request *request);

/** The ranges, as the analyzer judges them: `map`, `region`, `table`. */
void switch_evidence_intent(struct switch_state *state, const struct cr3scope_request *request);
/** Descriptor tables, code, and both page tables. */
enum cr3scope_status switch_evidence_contents(struct switch_state *state,
                                              const struct cr3scope_request *request);
