/** The initrd: a file that is there lies in the archive, and nothing else is read. */
#include <string.h>

#include "kernel/cpio.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct message why = {.length = 0};
    const void *found = NULL;
    size_t bytes = 0;
    enum cpio_status status = cpio_find(data, size, "kernel.elf", &found, &bytes, &why);
    if (status == CPIO_OK) {
        REQUIRE((const uint8_t *)found >= data && (const uint8_t *)found <= data + size);
        REQUIRE(bytes <= size - (size_t)((const uint8_t *)found - data));
    } else {
        REQUIRE(found == NULL && bytes == 0);
        REQUIRE(why.length > 0 && memchr(why.text, '\0', sizeof(why.text)) != NULL);
    }
    return 0;
}
