/* A mistake of mistakes.h that is carried out on a machine with a screen. Command line: WIDTH
 * HEIGHT BITS MISTAKE, and PITCH, where it is to be another one than the screen's. On
 * trace/examples/multiboot/start.S. */
#define CR3SCOPE_CLIMB
#define CR3SCOPE_SCREEN
#include "mistakes.h"

extern char text_first[], data_end[];

#define MULTIBOOT_COMMAND_LINE 16 /* Multiboot 0.6.96, 3.3 */
#define WORDS 5

/* Bochs' and QEMU's display: docs/specs/standard-vga.rst of QEMU. */
#define DISPLAY_INDEX 0x1ce
#define DISPLAY_DATA 0x1cf
enum { DISPLAY_WIDTH = 1, DISPLAY_HEIGHT, DISPLAY_BITS, DISPLAY_ENABLE };
#define DISPLAY_LINEAR 0x41
#define DISPLAY_PCI 0x80001010u /* register 10h of 00:02.0 */

static void out16(uint16_t port, uint16_t value) {
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static uint32_t pci_read(uint32_t address) {
    uint32_t value;
    __asm__ volatile("outl %0, %1" : : "a"(address), "Nd"((uint16_t)0xcf8));
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)0xcfc));
    return value;
}

static void set_display(unsigned index, unsigned value) {
    out16(DISPLAY_INDEX, (uint16_t)index);
    out16(DISPLAY_DATA, (uint16_t)value);
}

/* The numbers of the command line, the last WORDS of them. */
static void read_words(const char *line, uint32_t words_ret[WORDS]) {
    unsigned count = 0;
    for (bool within = false; *line != '\0'; line++) {
        bool digit = *line >= '0' && *line <= '9';
        if (digit && !within && count < WORDS) {
            words_ret[count++] = 0;
        }
        if (digit && count > 0) {
            words_ret[count - 1] = words_ret[count - 1] * 10 + (uint32_t)(*line - '0');
        }
        within = digit;
    }
}

/* The fourth GiB, where the display is, beside the first that climb.S maps. */
static void map_display(void) {
    static uint64_t directory[512] __attribute__((aligned(4096)));
    uint64_t root;
    __asm__ volatile("mov %%cr3, %0" : "=r"(root));
    uint64_t *pointers = (uint64_t *)(((uint64_t *)root)[0] & UINT64_C(0xffffffffff000));
    for (uint64_t i = 0; i < 512; i++) {
        directory[i] = (UINT64_C(3) << 30) | i << 21 | PRESENT | WRITABLE | BIT(7);
    }
    pointers[3] = (uint64_t)directory | PRESENT | WRITABLE;
    __asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

/* What a kernel has drawn before it switches. */
#define OWN_PICTURE 0x5a

static void draw_own_picture(const struct cr3scope_framebuffer *screen) {
    for (uint64_t i = 0; i < (uint64_t)screen->pitch * screen->height; i++) {
        ((volatile uint8_t *)screen->virt)[i] = OWN_PICTURE;
    }
}

void boot(uint64_t told);
void boot(uint64_t told) {
    uint32_t words[WORDS] = {0};
    uint32_t command_line = *(uint32_t *)(told + MULTIBOOT_COMMAND_LINE);
    const char *line = (const char *)(uint64_t)command_line;
    while (*line != '\0' && *line != ' ') { /* the file's name */
        line++;
    }
    read_words(line, words);
    map_display();
    set_display(DISPLAY_ENABLE, 0);
    set_display(DISPLAY_WIDTH, words[0]);
    set_display(DISPLAY_HEIGHT, words[1]);
    set_display(DISPLAY_BITS, words[2]);
    set_display(DISPLAY_ENABLE, DISPLAY_LINEAR);
    here = (uint64_t)cr3scope_i_switch_first;
    build((uint64_t)text_first, (uint64_t)(data_end - text_first));
    spoil(words[3]);
    code[0x10] = 0xf4; /* healthy: hlt */
    request.flags |= CR3SCOPE_WARN;
    request.framebuffer = (struct cr3scope_framebuffer){
        pci_read(DISPLAY_PCI) & ~UINT32_C(15), words[0], words[1],
        words[4] != 0 ? words[4] : words[0] * (words[2] / 8), words[2]};
    if (words[3] == 0) {
        draw_own_picture(&request.framebuffer);
    }
    cr3scope_switch(&request);
    speak_and_end("the switch was refused\r\n", FAILED);
}
