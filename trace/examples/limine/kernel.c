/* A Limine kernel in the higher half, which leaves Limine's tables for its own. Physical memory is
 * read at the HHDM. */
#define CR3SCOPE_IMPLEMENTATION
#include "cr3scope.h"

#include "../speaks.h"
#include "../tables.h"

#define STACK UINT64_C(0xffffff0000000000)
#define STACK_BYTES UINT64_C(16384)

/* The Limine protocol: base revision, and two requests that the loader answers. */
struct request {
    uint64_t id[4], revision;
    uint64_t *response; /* its revision, then what it holds */
};
#define REQUESTED __attribute__((used, section(".requests"))) static volatile
REQUESTED uint64_t revision[3] = {0xf9562b2d5c95a6c8, 0x6a7b384944536bdc, 2};
REQUESTED struct request hhdm = {
    {0xc7b1dd30df4c8b88, 0x0a82e883a194f07b, 0x48dcf1cb8ad2b852, 0x63984e959a98244b}, 0, 0};
REQUESTED struct request address = {
    {0xc7b1dd30df4c8b88, 0x0a82e883a194f07b, 0x71ba76863cc55f63, 0xb2644a48c516a487}, 0, 0};

extern char text_first[], data_first[], data_end[];
static uint8_t stack[STACK_BYTES] __attribute__((aligned(4096)));
static uint8_t buffer[CR3SCOPE_BUFFER_BYTES];

static void kernel(uint64_t magic) {
    speak_and_end("the kernel runs\r\n", magic == 42 ? PASSED : FAILED);
}

void boot(void);
void boot(void) {
    uint64_t text = (uint64_t)text_first, data = (uint64_t)data_first, end = (uint64_t)data_end;
    uint64_t up = address.response[2] - address.response[1]; /* virtual - physical */
    uint64_t root, phys = text - up;
    next_table(up, &root);
    map(root, up, text, text - up, data - text, PRESENT);
    map(root, up, data, data - up, end - data, PRESENT | WRITABLE | NO_EXECUTE);
    map(root, up, STACK, (uint64_t)stack - up, STACK_BYTES, PRESENT | WRITABLE | NO_EXECUTE);
#ifdef MISTAKE
    map(root, up, text, text, data - text, PRESENT); /* a virtual address for a frame */
#endif

    struct cr3scope_range ranges[] = {
        {"kernel text", "text", text, data - text, phys, CR3SCOPE_READ | CR3SCOPE_EXECUTE, 0, 0},
    };
    struct cr3scope_request request = {.root = root,
                                       .stack_top = STACK + STACK_BYTES,
                                       .entry = (uint64_t)kernel,
                                       .arguments = {42},
                                       CR3SCOPE_RANGES(ranges),
                                       .physical_offset = hhdm.response[1],
                                       CR3SCOPE_BUFFER(buffer),
                                       .flags = CR3SCOPE_SAFE_IDT};
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
