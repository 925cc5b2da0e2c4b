/* A 16550 whose registers lie in memory, which QEMU has on no PC: a page that is not present, and
 * whose faults are answered by COM1. The instruction then runs with the page present, and the trap
 * behind it takes what was written. Command line: STRIDE, which is the width of an access too. On
 * trace/examples/multiboot/start.S. */
#define CR3SCOPE_CLIMB
#define CR3SCOPE_UART_MEMORY
#include "mistakes.h"

extern char text_first[], data_end[];

#define MULTIBOOT_COMMAND_LINE 16 /* Multiboot 0.6.96, 3.3 */
#define REGISTERS BIT(39)         /* the second 512 GiB, where nothing else is */
#define COM1 0x3f8
#define FAULT_OF_A_WRITE 2
#define ENOUGH 2000 /* accesses of a whole trace, at least */

static uint8_t registers[PAGE] __attribute__((aligned(4096))); /* the page, where it lies */
static uint64_t window[3][512] __attribute__((aligned(4096)));
static uint64_t stride, accesses_made;
static uint64_t which;
static bool is_write;

void on_access(uint64_t virt, uint64_t error);
void on_accessed(void);
extern const char fault_stub[], trap_stub[];
#define SAVE                                                                                       \
    "pushq %rax; pushq %rcx; pushq %rdx; pushq %rsi; pushq %rdi; pushq %r8; pushq %r9; pushq "     \
    "%r10; pushq %r11\n"
#define RESTORE                                                                                    \
    "popq %r11; popq %r10; popq %r9; popq %r8; popq %rdi; popq %rsi; popq %rdx; popq %rcx; popq "  \
    "%rax\n"
__asm__("fault_stub:\n" SAVE "    movq %cr2, %rdi\n"
        "    movq 72(%rsp), %rsi\n"
        "    call on_access\n" RESTORE "    addq $8, %rsp\n"
        "    orq $0x100, 16(%rsp)\n" /* TF */
        "    iretq\n"
        "trap_stub:\n" SAVE "    call on_accessed\n" RESTORE "    andq $~0x100, 16(%rsp)\n"
        "    iretq\n");

static uint8_t in8(uint16_t port) {
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void set_page(uint64_t entry) {
    window[2][0] = entry;
    __asm__ volatile("invlpg (%0)" : : "r"(REGISTERS) : "memory");
}

void on_access(uint64_t virt, uint64_t error) {
    if (virt - REGISTERS >= 8 * stride || (error & PRESENT) != 0) {
        speak_and_end("an access beside the registers\r\n", FAILED);
    }
    which = (virt - REGISTERS) / stride;
    is_write = (error & FAULT_OF_A_WRITE) != 0;
    if (!is_write) {
        *(volatile uint32_t *)(registers + which * stride) = in8((uint16_t)(COM1 + which));
    }
    accesses_made++;
    set_page((uint64_t)registers | PRESENT | WRITABLE);
}

void on_accessed(void) {
    set_page(0);
    if (is_write) {
        out8((uint16_t)(COM1 + which), ((volatile uint8_t *)registers)[which * stride]);
    }
}

static void make_registers(void) {
    static uint64_t idt[32] __attribute__((aligned(16)));
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } load = {sizeof(idt) - 1, (uint64_t)idt};
    uint64_t root;
    __asm__ volatile("mov %%cr3, %0" : "=r"(root));
    ((uint64_t *)root)[1] = (uint64_t)window[0] | PRESENT | WRITABLE;
    window[0][0] = (uint64_t)window[1] | PRESENT | WRITABLE;
    window[1][0] = (uint64_t)window[2] | PRESENT | WRITABLE;
    cr3scope_i_exception_fill_gate(&idt[2 * 1], (uint64_t)trap_stub, 8, 0);
    cr3scope_i_exception_fill_gate(&idt[2 * 14], (uint64_t)fault_stub, 8, 0);
    __asm__ volatile("lidt %0" : : "m"(load));
}

void boot(uint64_t told);
void boot(uint64_t told) {
    uint32_t command_line = *(uint32_t *)(told + MULTIBOOT_COMMAND_LINE);
    const char *line = (const char *)(uint64_t)command_line;
    for (; *line != '\0'; line++) {
        stride = *line == '1' || *line == '4' ? (uint64_t)(*line - '0') : stride;
    }
    make_registers();
    here = (uint64_t)cr3scope_i_switch_first;
    build((uint64_t)text_first, (uint64_t)(data_end - text_first));
    request.uart_memory = REGISTERS;
    request.uart_stride = request.uart_width = (uint8_t)stride;
    enum cr3scope_status status = cr3scope_check(&request);
    bool is_right = status == CR3SCOPE_OK && accesses_made > ENOUGH;
    speak_and_end(is_right ? "all through memory\r\n" : "not through memory\r\n",
                  is_right ? PASSED : FAILED);
}
