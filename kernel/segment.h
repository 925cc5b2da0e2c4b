/** Bits of struct handoff_segment's flags: p_flags of the ELF-64 object file format, "Program
 * header". */
#pragma once

#define SEGMENT_EXECUTABLE 1u
#define SEGMENT_WRITABLE 2u
