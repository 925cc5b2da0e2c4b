/* A Multiboot kernel: start.S has brought it to long mode; here it makes its real tables and goes
 * there. */
#define CR3SCOPE_CLIMB
#define CR3SCOPE_IMPLEMENTATION
#include "cr3scope.h"

#include "../speaks.h"
#include "../tables.h"

#define STACK UINT64_C(0xffffff8000000000)
#define STACK_BYTES UINT64_C(16384)

extern char text_first[], data_first[], data_end[];
static uint8_t stack[STACK_BYTES] __attribute__((aligned(4096)));
static uint8_t buffer[CR3SCOPE_BUFFER_BYTES];

static void kernel(uint64_t magic) {
    speak_and_end("the kernel runs\r\n", magic == 42 ? PASSED : FAILED);
}

void boot(void);
void boot(void) {
    uint64_t text = (uint64_t)text_first, data = (uint64_t)data_first, end = (uint64_t)data_end;
    uint64_t root;
    next_table(0, &root);
    map(root, 0, text, text, data - text, PRESENT);
    map(root, 0, data, data, end - data, PRESENT | WRITABLE | NO_EXECUTE);
    map(root, 0, STACK, (uint64_t)stack, STACK_BYTES, PRESENT | WRITABLE | NO_EXECUTE);
#ifdef MISTAKE
    map(root, 0, STACK, (uint64_t)stack, STACK_BYTES, PRESENT | NO_EXECUTE); /* read-only */
#endif

    struct cr3scope_range ranges[] = {
        {"kernel text", "text", text, data - text, text, CR3SCOPE_READ | CR3SCOPE_EXECUTE, 0, 0},
        {"kernel data", "data", data, end - data, data, CR3SCOPE_READ | CR3SCOPE_WRITE, 0, 0},
    };
    struct cr3scope_request request = {.root = root,
                                       .stack_top = STACK + STACK_BYTES,
                                       .entry = (uint64_t)kernel,
                                       .arguments = {42},
                                       CR3SCOPE_RANGES(ranges),
                                       CR3SCOPE_BUFFER(buffer),
                                       .flags = CR3SCOPE_SAFE_IDT};
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
