/* Stand-ins for the addresses of handoff.S, which runs only in the loader. */
#include "handoff_jump.h"

const char handoff_first[1] = {0};
