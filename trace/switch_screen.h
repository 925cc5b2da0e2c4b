/** What the one call draws, and keeps for the time after a reset. */
#pragma once

#include "switch_state.h"

#ifdef CR3SCOPE_SCREEN
/** Adds the request's frame buffer to the sinks of its own trace, or what only keeps; a frame
 * buffer of no use is told. */
void switch_screen_open(struct switch_state *state, const struct cr3scope_request *request);
/** One more line to be drawn, which no sink is told. */
void switch_screen_line(struct switch_state *state, const char *line);
/** One more line to be drawn: in which range a refused address is, and by whom that was mapped, if
 * the request tells. */
void switch_screen_range(struct switch_state *state, const struct cr3scope_request *request,
                         uint64_t virt);
/** Draws what the check has found, if anything; keeps the trace, unless the memory for that is of
 * no use, which is told. */
void switch_screen_checked(struct switch_state *state, const struct cr3scope_request *request,
                           enum cr3scope_status checked, bool goes_on);
/** Makes the screen wait while other sinks take the exception. */
void switch_screen_wait(struct switch_state *state);
/** Goes back to the root of before, draws the exception, keeps the trace. Only for who halts. */
void switch_screen_fault(struct switch_state *state, const struct exception_frame *frame,
                         const char *line);
#else
static inline void switch_screen_open(struct switch_state *state,
                                      const struct cr3scope_request *request) {
    if (request->framebuffer.virt != 0) {
        switch_state_say(state, "screen: nothing is drawn: compiled without CR3SCOPE_SCREEN");
    }
}
static inline void switch_screen_line(struct switch_state *state, const char *line) {
    (void)state;
    (void)line;
}
static inline void switch_screen_range(struct switch_state *state,
                                       const struct cr3scope_request *request, uint64_t virt) {
    (void)state;
    (void)request;
    (void)virt;
}
static inline void switch_screen_checked(struct switch_state *state,
                                         const struct cr3scope_request *request,
                                         enum cr3scope_status checked, bool goes_on) {
    (void)state;
    (void)request;
    (void)checked;
    (void)goes_on;
}
static inline void switch_screen_wait(struct switch_state *state) {
    (void)state;
}
static inline void switch_screen_fault(struct switch_state *state,
                                       const struct exception_frame *frame, const char *line) {
    (void)state;
    (void)frame;
    (void)line;
}
#endif
