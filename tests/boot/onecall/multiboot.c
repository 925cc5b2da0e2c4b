/* The mistakes in a Multiboot kernel, on trace/examples/multiboot/start.S: all are checked; the one
 * whose number is on the command line is carried out, to show what the CPU makes of it. */
#define CR3SCOPE_CLIMB
#include "mistakes.h"

extern char text_first[], data_end[];

#define MULTIBOOT_COMMAND_LINE 16 /* Multiboot 0.6.96, 3.3 */
#define CR4_OSFXSR BIT(9)

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

static void allow_movaps(void) {
    uint64_t cr4;
    __asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
    __asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSFXSR));
}

void boot(uint64_t told);
void boot(uint64_t told) {
    uint64_t base = (uint64_t)text_first, bytes = (uint64_t)(data_end - text_first);
    const char *line = (const char *)(uint64_t) * (uint32_t *)(told + MULTIBOOT_COMMAND_LINE);
    unsigned number = number_of(line);
    rehearses = has_word(line, "rehearse");
    allow_movaps();
    if (number == 0) {
        check_all(base, bytes, MISTAKES);
    }
    here = (uint64_t)cr3scope_i_switch_first;
    build(base, bytes);
    spoil(number);
    request.flags |= CR3SCOPE_WARN | (rehearses ? CR3SCOPE_REHEARSE : 0);
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
