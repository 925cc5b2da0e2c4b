/* The mistakes in a Multiboot kernel, on trace/examples/multiboot/start.S: all are checked; the one
 * whose number is on the command line is carried out, to show what the CPU makes of it. */
#define CR3SCOPE_CLIMB
#include "mistakes.h"

extern char text_first[], data_end[];

/* Multiboot 0.6.96, 3.3: flags, memory below 1 MiB, ...; Multiboot2 2.0, 3.6.2: size, 0, tags */
#define MULTIBOOT_COMMAND_LINE 16
#define MULTIBOOT2_TAGS 8
#define MULTIBOOT2_COMMAND_LINE 1
#define CR4_OSFXSR BIT(9)

/* The command line that the boot loader handed over; empty if it handed none. */
static const char *command_line(uint64_t told) {
    if (((uint32_t *)told)[1] != 0) { /* a machine has memory below 1 MiB */
        uint32_t line = *(uint32_t *)(told + MULTIBOOT_COMMAND_LINE);
        return (const char *)(uint64_t)line;
    }
    for (uint32_t *tag = (uint32_t *)(told + MULTIBOOT2_TAGS); tag[0] != 0;
         tag += (tag[1] + 7) / 8 * 2) {
        if (tag[0] == MULTIBOOT2_COMMAND_LINE) {
            return (const char *)&tag[2];
        }
    }
    return "";
}

/* The last word of the command line as a number; 0 if it is none. */
static unsigned number_of(const char *line) {
    unsigned number = 0;
    for (; *line != '\0'; line++) {
        number = *line >= '0' && *line <= '9' ? number * 10 + (unsigned)(*line - '0') : 0;
    }
    return number;
}

static bool has_word(const char *line, const char *word) {
    for (; *line != '\0'; line++) {
        unsigned i = 0;
        while (word[i] != '\0' && line[i] == word[i]) {
            i++;
        }
        if (word[i] == '\0') {
            return true;
        }
    }
    return false;
}

/* NMIs at a thousand a second, by the timer through the I/O APIC (82093AA, 3.2.4), while one
 * request is rehearsed again and again. Those that come under the new root are raised anew behind
 * it, by an INT 2 of the library's. */
#define IO_APIC ((volatile uint32_t *)UINT64_C(0xfec00000))
#define TIMER_PIN 2
#define DELIVERED_AS_NMI 0x400
#define MASKED 0x10000
#define ENOUGH 5
#define MOST_TRIES 4000

uint64_t nmis, nmis_again;
extern const char nmi_handler[];
__asm__("nmi_handler:\n"
        "    pushq %rax\n"
        "    incq nmis\n"
        "    movq 8(%rsp), %rax\n"
        "    btq $39, %rax\n" /* in the rehearsal's own page: nothing is below its first byte */
        "    jc 1f\n"
        "    cmpw $0x02cd, -2(%rax)\n" /* int $2 */
        "    jne 1f\n"
        "    incq nmis_again\n"
        "1:  popq %rax\n"
        "    iretq\n");

static void io_apic(uint32_t which, uint32_t value) {
    IO_APIC[0] = which;
    IO_APIC[4] = value;
}

__attribute__((noreturn)) static void rehearse_among_nmis(uint64_t base, uint64_t bytes) {
    static uint64_t idt[6] __attribute__((aligned(16)));
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } load = {sizeof(idt) - 1, (uint64_t)idt};
    bool is_whole = true;
    cr3scope_i_exception_fill_gate(&idt[4], (uint64_t)nmi_handler, 8, 0);
    __asm__ volatile("lidt %0" : : "m"(load));
    io_apic(0x11 + 2 * TIMER_PIN, 0);
    io_apic(0x10 + 2 * TIMER_PIN, DELIVERED_AS_NMI);
    out8(0x43, 0x34); /* channel 0, mode 2 */
    out8(0x40, 0xa9);
    out8(0x40, 0x04);
    for (unsigned i = 0; i < MOST_TRIES && is_whole && nmis_again < ENOUGH; i++) {
        build(base, bytes);
        request.uart_port = request.debugcon_port = CR3SCOPE_NO_PORT;
        is_whole = cr3scope_rehearse(&request) == CR3SCOPE_OK;
    }
    io_apic(0x10 + 2 * TIMER_PIN, MASKED);
    say(nmis > nmis_again ? "NMIs came\r\n" : "no NMI came\r\n");
    say(nmis_again >= ENOUGH ? "and under the new root too\r\n"
                             : "and none under the new root\r\n");
    speak_and_end(is_whole ? "all is rehearsed\r\n" : "a rehearsal failed\r\n",
                  is_whole && nmis_again >= ENOUGH ? PASSED : FAILED);
}

/* A debugger's: on an instruction that the rehearsal steps over, or on one that it calls, and on
 * what it pushes. */
#define STEPPED_OVER 0x13 /* a nop of `accessing` */
#define CALLED 0x40
#define BREAKPOINTS (BIT(0) | BIT(2) | UINT64_C(0x900000)) /* DR1: a write of eight bytes */

__attribute__((noreturn)) static void rehearse_among_breakpoints(uint64_t base, uint64_t bytes) {
    rehearses = true;
    __asm__ volatile("mov %0, %%db1" : : "r"(STACK + STACK_BYTES - 8));
    __asm__ volatile("mov %0, %%db7" : : "r"(BREAKPOINTS));
    for (unsigned i = 0; i < 2; i++) {
        build(base, bytes);
        spoil(i == 0 ? 5 : 0); /* a breakpoint comes before the fetch that is refused */
        code[CALLED] = i == 0 ? 0 : 0xc3;
        __asm__ volatile("mov %0, %%db0" : : "r"(KERNEL + (i == 0 ? STEPPED_OVER : CALLED)));
        unsigned status = check_one(base, bytes);
        say(status == CR3SCOPE_OK ? "checked 00 status 00\r\n" : "checked 00 status 01\r\n");
    }
    speak_and_end("all are checked\r\n", PASSED);
}

/* TCG takes every value of CR0 and EFER, and stands still at one of CR4 that it does not take. So
 * an instruction that the CPU refuses is put in the place of each of these loads. */
struct load {
    uint8_t bytes[3];
    unsigned count;
};
static const struct load loads[] = {
    {{0x0f, 0x22, 0xc0}, 3}, /* mov %rax, %cr0 */
    {{0x0f, 0x22, 0xe0}, 3}, /* mov %rax, %cr4 */
    {{0x0f, 0x30}, 2},       /* wrmsr */
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

static uint8_t *first_of(const struct load *load) {
    uint8_t *at = (uint8_t *)(uint64_t)cr3scope_i_rehearse_code;
    while (__builtin_memcmp(at, load->bytes, load->count) != 0) {
        at++;
    }
    return at;
}

__attribute__((noreturn)) static void rehearse_what_is_refused(uint64_t base, uint64_t bytes) {
    rehearses = true;
    for (unsigned i = 0; i < LOADS; i++) {
        uint8_t *at = first_of(&loads[i]);
        build(base, bytes);
        at[1] = 0x0b; /* ud2 */
        unsigned status = check_one(base, bytes);
        at[1] = loads[i].bytes[1];
        say(status == CR3SCOPE_FINDING ? "checked 00 status 01\r\n" : "checked 00 status 99\r\n");
    }
    speak_and_end("all are checked\r\n", PASSED);
}

static void allow_movaps(void) {
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR));
}

void boot(uint64_t told);
void boot(uint64_t told) {
    uint64_t base = (uint64_t)text_first, bytes = (uint64_t)(data_end - text_first);
    const char *line = command_line(told);
    unsigned number = number_of(line);
    rehearses = has_word(line, "rehearse");
    allow_movaps();
    if (has_word(line, "nmi")) {
        rehearse_among_nmis(base, bytes);
    }
    if (has_word(line, "breakpoints")) {
        rehearse_among_breakpoints(base, bytes);
    }
    if (has_word(line, "refused")) {
        rehearse_what_is_refused(base, bytes);
    }
    if (number == 0) {
        check_all(base, bytes, has_word(line, "max") ? MISTAKES_OF_ALL : MISTAKES);
    }
    here = (uint64_t)cr3scope_i_switch_first;
    build(base, bytes);
    spoil(number);
    request.flags |= CR3SCOPE_WARN | (rehearses ? CR3SCOPE_REHEARSE : 0);
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
