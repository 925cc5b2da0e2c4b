/* One request after another, each with one mistake, checked and told: the same in every
 * environment. */
#define CR3SCOPE_REHEARSAL
#define CR3SCOPE_IMPLEMENTATION
#include "cr3scope.h"

#include "../../../trace/examples/speaks.h"
#include "../../../trace/examples/tables.h"

#define STACK UINT64_C(0xffffff8000000000)
#define STACK_BYTES UINT64_C(16384)
#define KERNEL UINT64_C(0xffffffff80000000)
#define KERNEL_BYTES UINT64_C(8192)
#define INFO UINT64_C(0xffffc00000000000)
#define BIT(number) (UINT64_C(1) << (number))

static uint8_t stack[STACK_BYTES] __attribute__((aligned(4096)));
static uint8_t code[KERNEL_BYTES] __attribute__((aligned(4096)));
static uint8_t info[PAGE] __attribute__((aligned(4096)));
static uint8_t buffer[CR3SCOPE_BUFFER_BYTES];
static struct cr3scope_range ranges[4];
static struct cr3scope_access accesses[2];
static struct cr3scope_request request;
static uint64_t here; /* of the code that executes mov cr3 */

/* The entry of `level` that translates virt; levels above must have one. */
static uint64_t *entry_of(uint64_t virt, unsigned level) {
    uint64_t *table = pool[0];
    for (unsigned at = 4; at > level; at--) {
        table = (uint64_t *)(table[virt >> (12 + 9 * (at - 1)) & 511] & UINT64_C(0xffffffffff000));
    }
    return &table[virt >> (12 + 9 * (level - 1)) & 511];
}

static void spoil(unsigned number);

/* At KERNEL + 10h what `accesses` say: mov (%rdi), %rax; movaps %xmm0, -40(%rsp); then the end of
 * the machine. */
static const uint8_t accessing[] = {0x48, 0x8b, 0x07, 0x90, 0x90, 0x90, 0x90, 0x90, 0x0f, 0x29,
                                    0x44, 0x24, 0xd8, 0xb0, 0x10, 0xe6, 0xf4, 0xeb, 0xfe};

/* Healthy: own image mapped as it is, a stack, two pages of code, boot info. */
static void build(uint64_t base, uint64_t bytes) {
    uint64_t root;
    pool_used = 0;
    for (unsigned i = 0; i < sizeof(pool) / 8; i++) {
        ((uint64_t *)pool)[i] = 0;
    }
    for (unsigned i = 0; i < sizeof(accessing); i++) {
        code[0x10 + i] = accessing[i];
    }
    next_table(0, &root);
    map(root, 0, base, base, bytes, PRESENT | WRITABLE);
    map(root, 0, STACK, (uint64_t)stack, STACK_BYTES, PRESENT | WRITABLE | NO_EXECUTE);
    map(root, 0, KERNEL, (uint64_t)code, KERNEL_BYTES, PRESENT);
    map(root, 0, INFO, (uint64_t)info, PAGE, PRESENT | NO_EXECUTE);
    ranges[0] = (struct cr3scope_range){"kernel text",
                                        "text",
                                        KERNEL,
                                        KERNEL_BYTES,
                                        (uint64_t)code,
                                        CR3SCOPE_READ | CR3SCOPE_EXECUTE,
                                        0,
                                        0};
    ranges[1] = (struct cr3scope_range){
        "stack 0", "stack", STACK, STACK_BYTES, (uint64_t)stack, CR3SCOPE_READ | CR3SCOPE_WRITE,
        0,         0};
    ranges[2] = (struct cr3scope_range){"boot info",    "boot-info",   INFO, PAGE,
                                        (uint64_t)info, CR3SCOPE_READ, 0,    0};
    ranges[3] = (struct cr3scope_range){"guard 0", "guard", STACK - PAGE, PAGE, 0, 0, 0, 0};
    accesses[0] =
        (struct cr3scope_access){"boot info magic", CR3SCOPE_READS, INFO, 8, 0, KERNEL + 0x10};
    accesses[1] = (struct cr3scope_access){
        "aligned push", CR3SCOPE_WRITES, STACK + STACK_BYTES - 48, 16, 16, KERNEL + 0x18};
    request = (struct cr3scope_request){.root = root,
                                        .stack_top = STACK + STACK_BYTES,
                                        .entry = KERNEL + 0x10,
                                        .arguments = {INFO},
                                        CR3SCOPE_RANGES(ranges),
                                        .accesses = accesses,
                                        .access_count = 2,
                                        CR3SCOPE_BUFFER(buffer),
                                        .flags = CR3SCOPE_SAFE_IDT};
}

static void say(const char *text) {
    while (*text != '\0') {
        out8(0x3f8, (uint8_t)*text++);
    }
}

/* Of the machine, before and after: registers, and sums over memory. */
struct machine {
    struct cr3scope_i_cpu_state cpu;
    uint64_t debug_status, debug_control, breakpoints[2], vector_register[2];
    uint64_t tables, mapped, image;
};

static uint64_t sum(const void *first, uint64_t bytes, uint64_t left_out) {
    uint64_t total = bytes;
    for (uint64_t i = 0; i < bytes / 8; i++) {
        total =
            (total << 7 | total >> 57) * 0x100000001b3 + (((const uint64_t *)first)[i] & ~left_out);
    }
    return total;
}

#define ACCESSED_AND_DIRTY UINT64_C(0x60)
#define STACK_IN_USE UINT64_C(16384)

/* Its own stack and the library's buffer are in the image, and change. */
__attribute__((noinline)) static void look(struct machine *seen, uint64_t base, uint64_t bytes) {
    uint64_t here_on_stack = (uint64_t)__builtin_frame_address(0);
    __builtin_memset(seen, 0, sizeof(*seen));
    cr3scope_i_cpu_read(&seen->cpu);
    seen->debug_status = cr3scope_i_cpu_read_dr6();
    seen->debug_control = cr3scope_i_cpu_read_dr7();
    __asm__("mov %%db0, %0" : "=r"(seen->breakpoints[0]));
    __asm__("mov %%db1, %0" : "=r"(seen->breakpoints[1]));
    __asm__ volatile("movups %%xmm0, %0" : "=m"(seen->vector_register));
    seen->tables = sum(pool, sizeof(pool), ACCESSED_AND_DIRTY);
    seen->mapped = sum(stack, sizeof(stack), 0) + 3 * sum(code, sizeof(code), 0) +
                   5 * sum(info, sizeof(info), 0);
    for (uint64_t at = base; at + PAGE <= base + bytes; at += PAGE) {
        bool is_buffer = at + PAGE > (uint64_t)buffer && at < (uint64_t)buffer + sizeof(buffer);
        bool is_stack = at + STACK_IN_USE > here_on_stack && at < here_on_stack + STACK_IN_USE;
        seen->image += is_buffer || is_stack ? 0 : sum((const void *)at, PAGE, ACCESSED_AND_DIRTY);
    }
}

static bool is_same(const struct machine *before, const struct machine *after) {
    for (unsigned i = 0; i < sizeof(*before); i++) {
        if (((const uint8_t *)before)[i] != ((const uint8_t *)after)[i]) {
            return false;
        }
    }
    return true;
}

static bool rehearses; /* each check, and says whether the machine is as before */

static unsigned check_one(uint64_t base, uint64_t bytes) {
    struct machine seen[2];
    unsigned status = 0;
    for (unsigned i = 0; i < 2; i++) {
        look(&seen[i], base, bytes);
        if (i == 0) {
            status = (unsigned)(rehearses ? cr3scope_rehearse(&request) : cr3scope_check(&request));
        }
    }
    say(is_same(&seen[0], &seen[1]) ? "the machine is as before\r\n"
                                    : "the machine is another\r\n");
    return status;
}

/* Number 0 is healthy; `count` in all. base, bytes: of the program, which is mapped where it lies.
 */
__attribute__((noreturn, unused)) static void check_all(uint64_t base, uint64_t bytes,
                                                        unsigned count) {
    here = (uint64_t)cr3scope_i_switch_first;
    for (unsigned number = 0; number < count; number++) {
        build(base, bytes);
        spoil(number);
        char line[] = "checked 00 status 00\r\n";
        unsigned status = check_one(base, bytes);
        line[8] = (char)('0' + number / 10);
        line[9] = (char)('0' + number % 10);
        line[18] = (char)('0' + status / 10);
        line[19] = (char)('0' + status % 10);
        say(line);
    }
    speak_and_end("all are checked\r\n", PASSED);
}

#define MISTAKES 36 /* for any CPU */
#define MISTAKES_OF_ALL 40

static uint64_t read_cr4(void) {
    uint64_t value;
    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

static void spoil(unsigned number) {
    switch (number) {
    case 1:
        *entry_of(here, 4) |= NO_EXECUTE;
        break;
    case 2:
        *entry_of(KERNEL, 4) |= NO_EXECUTE;
        break;
    case 3:
        *entry_of(KERNEL, 3) |= NO_EXECUTE;
        break;
    case 4:
        *entry_of(KERNEL, 2) |= NO_EXECUTE;
        break;
    case 5:
        *entry_of(KERNEL, 1) |= NO_EXECUTE;
        break;
    case 6:
        *entry_of(KERNEL + PAGE, 1) |= NO_EXECUTE;
        break;
    case 7:
        *entry_of(here, 1) |= NO_EXECUTE;
        break;
    case 8:
        *entry_of(here, 1) = 0;
        break;
    case 9:
        *entry_of(here, 4) = 0;
        break;
    case 10:
        *entry_of(KERNEL, 1) = 0;
        break;
    case 11:
        *entry_of(KERNEL, 4) = 0;
        break;
    case 12:
        *entry_of(STACK + STACK_BYTES - 1, 1) = 0;
        break;
    case 13:
        *entry_of(STACK, 2) = 0;
        break;
    case 14:
        *entry_of(STACK, 4) &= ~WRITABLE;
        break;
    case 15:
        *entry_of(STACK, 2) &= ~WRITABLE;
        break;
    case 16:
        *entry_of(STACK + STACK_BYTES - 1, 1) &= ~WRITABLE;
        break;
    case 17:
        *entry_of(KERNEL, 4) |= BIT(7);
        break;
    case 18:
        *entry_of(KERNEL, 2) |= BIT(7) | BIT(13);
        break;
    case 19:
        *entry_of(KERNEL, 1) |= BIT(51);
        break;
    case 20:
        *entry_of(STACK, 3) |= BIT(51);
        break;
    case 21:
        *entry_of(here, 1) |= BIT(51);
        break;
    case 22:
        *entry_of(INFO, 1) = 0;
        break;
    case 23:
        *entry_of(KERNEL + PAGE, 1) += PAGE;
        break;
    case 24:
        map(request.root, 0, STACK - PAGE, (uint64_t)info, PAGE, PRESENT | WRITABLE | NO_EXECUTE);
        break;
    case 25:
        request.entry = 0xdead000;
        break;
    case 26:
        request.entry &= BIT(57) - 1;
        break;
    case 27:
        request.entry = INFO;
        break;
    case 28:
        request.stack_top &= BIT(57) - 1;
        break;
    case 29:
        request.stack_top = STACK;
        break;
    case 30:
        request.root |= BIT(51);
        break;
    case 31:
        request.root = (uint64_t)info;
        break;
    case 32:
        request.stack_top -= 8;
        accesses[1].virt -= 8;
        break;
    case 33: /* nothing is mapped there */
        request.physical_offset = BIT(46);
        break;
    case 34: /* other memory is */
        request.physical_offset = PAGE;
        break;
    case 35: /* nobody can read it */
        request.root = BIT(38);
        break;
    /* From here on for CPUs that have the feature. Their control registers are the planned ones
     * alone. */
    case 36: /* PCIDs, which the machine does not use as yet */
        request.cr4 = read_cr4() | BIT(17);
        request.root |= 5;
        break;
    case 37: /* SMEP and SMAP, and a kernel that is the user's */
        request.cr4 = read_cr4() | BIT(20) | BIT(21);
        for (unsigned level = 1; level <= 4; level++) {
            *entry_of(KERNEL, level) |= BIT(2);
            *entry_of(INFO, level) |= BIT(2);
        }
        break;
    case 38: /* global pages stay on */
        request.cr4 = read_cr4() | BIT(7);
        *entry_of(KERNEL, 1) |= BIT(8);
        *entry_of(STACK, 1) |= BIT(8);
        break;
    case 39: /* without NXE bit 63 is reserved: the stack, boot info and the way there */
        request.efer = BIT(8) | BIT(10);
        break;
    }
}
