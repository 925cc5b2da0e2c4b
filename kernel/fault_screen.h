/** An unexpected exception on the screen: for machines without a serial port ("screen=on"). */
#pragma once

#include "handoff.h"
#include "trace/exception.h"

/** Draws from now on, if the loader has handed over a frame buffer. */
void fault_screen_use(const struct handoff *handoff);
/** Draws the line, the walk of CR2 if it is a page fault, and as codes the exception's record with
 * the page tables. Nothing where none is used. */
void fault_screen_show(const struct exception_frame *frame, const char *line);
