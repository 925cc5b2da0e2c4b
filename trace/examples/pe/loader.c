/* A UEFI program by clang and lld-link alone: it leaves the firmware and goes to a kernel in tables
 * of its own. */
#define CR3SCOPE_IMPLEMENTATION
#define CR3SCOPE_SCREEN
#include "cr3scope.h"

#include "../efi_screen.h"
#include "../speaks.h"
#include "../tables.h"

#define STACK UINT64_C(0xffffff8000000000)
#define STACK_BYTES UINT64_C(16384)

/* As far as it is used: UEFI 2.10, 4.3 and 4.4. */
struct boot_services {
    uint8_t header[24];
    void *before[4];
    uint64_t (*get_memory_map)(uint64_t *bytes, void *map, uint64_t *key, uint64_t *size,
                               uint32_t *version);
    void *between[21];
    uint64_t (*exit_boot_services)(void *image, uint64_t key);
};
struct system_table {
    uint8_t before[96];
    struct boot_services *boot;
};

extern uint8_t __ImageBase[];
static uint8_t stack[STACK_BYTES] __attribute__((aligned(4096)));
static uint8_t buffer[CR3SCOPE_BUFFER_BYTES];
static uint8_t memory_map[65536];

static void kernel(uint64_t magic) {
    speak_and_end("the kernel runs\r\n", magic == 42 ? PASSED : FAILED);
}

uint64_t efi_main(void *image, struct system_table *system);
uint64_t efi_main(void *image, struct system_table *system) {
    uint64_t base = (uint64_t)__ImageBase, root, bytes = sizeof(memory_map), key, size;
    uint64_t image_bytes =
        *(uint32_t *)(base + *(uint32_t *)(base + 0x3c) + 80); /* PE: SizeOfImage */
    struct cr3scope_framebuffer screen = efi_screen(system->boot);
    uint32_t version;
    next_table(0, &root);
    map(root, 0, base, base, image_bytes, PRESENT | WRITABLE);
    map(root, 0, STACK, (uint64_t)stack, STACK_BYTES, PRESENT | WRITABLE | NO_EXECUTE);
#ifdef MISTAKE
    pool[0][base >> 39 & 511] |= NO_EXECUTE;
#endif
    if (system->boot->get_memory_map(&bytes, memory_map, &key, &size, &version) != 0 ||
        system->boot->exit_boot_services(image, key) != 0) {
        return 1;
    }

    struct cr3scope_request request = {.root = root,
                                       .stack_top = STACK + STACK_BYTES,
                                       .entry = (uint64_t)kernel,
                                       .arguments = {42},
                                       .abi = CR3SCOPE_ABI_MICROSOFT,
                                       CR3SCOPE_BUFFER(buffer),
                                       .framebuffer = screen,
                                       .flags = CR3SCOPE_SAFE_IDT};
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
