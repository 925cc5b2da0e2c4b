/*
 * Events that cannot be delivered, one after the other: each gate is of no use in its own way, and
 * an exception, an INT instruction and an interrupt of the local APIC each go through it. For each
 * a line on COM1: gate, event, the vector that came instead and its error code, all hexadecimal. It
 * makes no mistake: both twins end well.
 */
#include "foreign.h"

#define COM1 0x3f8
#define LINE_STATUS (COM1 + 5)
#define TRANSMIT_EMPTY 0x20u
#define GATE_INTERRUPT UINT64_C(0x8e00)
#define GATE_BUSY_TSS UINT64_C(0x8b00)
#define GATE_ABSENT UINT64_C(0x0e00)
#define GATES 256u
#define UD 6u
#define NP 11u
#define GP 13u
#define SOFTWARE 0x40u
#define DEVICE 0x50u
#define LIMIT_WITHOUT_DEVICE (16u * SOFTWARE - 1)
#define IA32_APIC_BASE 0x1bu
#define APIC_SPURIOUS 0xf0u
#define APIC_END 0xb0u
#define APIC_COMMAND 0x300u
#define APIC_ENABLE 0x1ffu
#define TO_SELF 0x40000u

/* 30h and 38h as the firmware has them; 18h: code that is not present, 20h: 32-bit code, 28h: ring
 * 3 code. */
static UINT64 gdt[] = {0,
                       0x00cf93000000ffff,
                       0x00cf93000000ffff,
                       0x00af1b000000ffff,
                       0x00cf9b000000ffff,
                       0x00affb000000ffff,
                       0x00cf93000000ffff,
                       0x00af9b000000ffff};
static UINT64 idt[2 * GATES] __attribute__((aligned(4096)));
static volatile UINT64 came_vector __attribute__((used)), came_error __attribute__((used));
static UINT64 saved_stack __attribute__((used)), resume __attribute__((used)); /* for assembly */

struct __attribute__((packed)) table {
    UINT16 limit;
    UINT64 base;
};

static void say(const char *text) {
    for (; *text; text++) {
        UINT8 status;
        do {
            __asm__ volatile("inb %1, %0" : "=a"(status) : "Nd"((UINT16)LINE_STATUS));
        } while (!(status & TRANSMIT_EMPTY));
        __asm__ volatile("outb %0, %1" ::"a"(*text), "Nd"((UINT16)COM1));
    }
}

static void say_number(UINT64 value) {
    char digits[] = "0000 ";
    for (int i = 3; i >= 0; i--, value >>= 4) {
        digits[i] = "0123456789abcdef"[value & 15];
    }
    say(digits);
}

/* Handlers of what comes instead: they leave by the way that the event's maker has prepared. */
static void __attribute__((naked)) general_protection(void) {
    __asm__("popq came_error(%rip)\n\tmovq $13, came_vector(%rip)\n\tmovq saved_stack(%rip), "
            "%rsp\n\tjmp *resume(%rip)");
}

static void __attribute__((naked)) not_present(void) {
    __asm__("popq came_error(%rip)\n\tmovq $11, came_vector(%rip)\n\tmovq saved_stack(%rip), "
            "%rsp\n\tjmp *resume(%rip)");
}

static void __attribute__((naked)) delivered(void) {
    __asm__("movq $0, came_error(%rip)\n\tmovq $0xff, came_vector(%rip)\n\tmovq saved_stack(%rip), "
            "%rsp\n\tjmp *resume(%rip)");
}

static void set_gate(UINTN vector, void (*handler)(void), UINT64 selector, UINT64 type) {
    UINT64 entry = (UINT64)handler;
    idt[2 * vector] = (entry & 0xffff) | selector << 16 | type << 32 | (entry >> 16 & 0xffff) << 48;
    idt[2 * vector + 1] = entry >> 32;
}

#define MAKE(event)                                                                                \
    __asm__ volatile("lea 1f(%%rip), %%rax\n\tmov %%rax, resume(%%rip)\n\tmov %%rsp, "             \
                     "saved_stack(%%rip)\n\t" event "\n\t1: cli" ::                                \
                         : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10",     \
                           "r11", "r12", "r13", "r14", "r15", "memory", "cc")

static volatile UINT32 *apic(void) {
    UINT32 low, high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(IA32_APIC_BASE));
    return (volatile UINT32 *)(UINT64)(low & ~0xfffu);
}

static void device_interrupt(void) {
    volatile UINT32 *registers = apic();
    registers[APIC_COMMAND / 4] = TO_SELF | DEVICE;
    MAKE("sti\n\tnop\n\t2: pause\n\tjmp 2b");
    registers[APIC_END / 4] = 0;
}

static void report(const char *gate, const char *event) {
    say("refused ");
    say(gate);
    say(event);
    say_number(came_vector);
    say_number(came_error);
    say("\r\n");
}

static void each_event(const char *gate) {
    MAKE("ud2");
    report(gate, " exception ");
    MAKE("int $0x40");
    report(gate, " int ");
    device_interrupt();
    report(gate, " interrupt ");
}

static void try_gate(const char *name, UINT64 selector, UINT64 type) {
    static const UINTN vectors[] = {UD, SOFTWARE, DEVICE};
    for (UINTN i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        set_gate(vectors[i], delivered, selector, type);
    }
    each_event(name);
}

static void load_idt(UINT16 limit) {
    struct table idtr = {limit, (UINT64)idt};
    __asm__ volatile("lidt %0" ::"m"(idtr));
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    struct table gdtr = {sizeof(gdt) - 1, (UINT64)gdt};
    exit_boot_services(image, system);
    __asm__ volatile("cli\n\tlgdt %0" ::"m"(gdtr));
    set_gate(GP, general_protection, 0x38, GATE_INTERRUPT);
    set_gate(NP, not_present, 0x38, GATE_INTERRUPT);
    load_idt(sizeof(idt) - 1);
    apic()[APIC_SPURIOUS / 4] = APIC_ENABLE;
    try_gate("sound", 0x38, GATE_INTERRUPT);
    try_gate("absent", 0x38, GATE_ABSENT);
    try_gate("type", 0x38, GATE_BUSY_TSS);
    try_gate("null", 0, GATE_INTERRUPT);
    try_gate("outside", 0x68, GATE_INTERRUPT);
    try_gate("local", 0x3c, GATE_INTERRUPT);
    try_gate("data", 0x08, GATE_INTERRUPT);
    try_gate("code_absent", 0x18, GATE_INTERRUPT);
    try_gate("code32", 0x20, GATE_INTERRUPT);
    try_gate("ring3", 0x28, GATE_INTERRUPT);
    load_idt(LIMIT_WITHOUT_DEVICE); /* gates 40h and 50h lie beyond */
    try_gate("beyond", 0x38, GATE_INTERRUPT);
    pass();
}
