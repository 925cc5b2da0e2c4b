/* The way up from 32-bit C: with as many levels as the last digit of the command line says, or the
 * reason why not. */
#include <stdint.h>

#include "../../../trace/examples/speaks.h"
#include "trace/climb.h"

#define MULTIBOOT_COMMAND_LINE 16 /* Multiboot 0.6.96, 3.3 */

static uint8_t memory[CR3SCOPE_CLIMB_BYTES];
uint8_t stack[16384];
extern const char arrived[];
void climb(const uint8_t *told);

__asm__(".section .boot, \"ax\"\n"
        ".balign 4\n"
        ".long 0x1badb002, 0, -0x1badb002\n"
        ".globl start\n"
        "start:\n"
        "    movl $stack + 16384, %esp\n"
        "    pushl %ebx\n"
        "    call climb\n"
        /* In 64-bit code: the argument, what CR4.LA57 is, and a register of 64 bits, as digits. */
        "    .code64\n"
        "    .globl arrived\n"
        "arrived:\n"
        "    movl $0x3f8, %edx\n"
        "    leal 48(%rdi), %eax\n"
        "    outb %al, %dx\n"
        "    movq %cr4, %rax\n"
        "    shrl $12, %eax\n"
        "    andl $1, %eax\n"
        "    addl $48, %eax\n"
        "    outb %al, %dx\n"
        "    movabsq $0x3800000000000000, %rax\n"
        "    shrq $56, %rax\n"
        "    outb %al, %dx\n"
        "    movb $0x10, %al\n"
        "    outb %al, $0xf4\n"
        "1:  jmp 1b\n"
        "    .code32\n"
        "    .text\n");

void climb(const uint8_t *told) {
    const char *line =
        (const char *)*(const uint32_t *)(const void *)(told + MULTIBOOT_COMMAND_LINE);
    uint32_t levels = 0;
    for (; *line != '\0'; line++) {
        levels = *line >= '0' && *line <= '9' ? (uint32_t)(*line - '0') : levels;
    }
    speak_and_end(cr3scope_climb(memory, levels, (uint32_t)(uintptr_t)arrived, levels), FAILED);
}
