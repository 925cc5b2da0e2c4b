/** A file in memory. */
#pragma once

#include <stddef.h>

struct file {
    const void *bytes;
    size_t count;
};
