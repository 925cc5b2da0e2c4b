#include "target.h"

void (*target_listener)(const void *given, size_t given_bytes, const void *trace,
                        size_t trace_bytes);
