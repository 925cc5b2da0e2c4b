/* The mistakes in a Multiboot kernel, on trace/examples/multiboot/climb.S. */
#include "mistakes.h"

extern char text_first[], data_end[];

void boot(void);
void boot(void) {
    check_all((uint64_t)text_first, (uint64_t)(data_end - text_first), MISTAKES);
}
