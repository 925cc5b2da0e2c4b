/** Files in a cpio archive of the "newc" form (cpio(5)): the initrd. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "trace/message.h"

enum cpio_status { CPIO_OK = 0, CPIO_NOT_FOUND, CPIO_MALFORMED };

/**
 * Finds the file called `name`. *data_ret points into the archive. On failure both outputs are
 * untouched and `why` says what is wrong and at which byte offset.
 */
enum cpio_status cpio_find(const void *archive, size_t bytes, const char *name,
                           const void **data_ret, size_t *bytes_ret, struct message *why)
    __attribute__((warn_unused_result));
