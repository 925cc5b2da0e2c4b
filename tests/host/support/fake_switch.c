#include "support/fake_switch.h"

#include <stdlib.h>
#include <string.h>

#include "../../trace/switch_jump.h"
#include "trace/control_registers.h"
#include "trace/paging.h"

struct cpu_state fake_cpu;
bool fake_cpu_was_changed;
jmp_buf *fake_cpu_halted;
static uint64_t next_table;

/* Bytes at places as in switch_jump.S, and the stubs: nobody runs them here. */
const char switch_first[256] __attribute__((aligned(256)));
const char exception_stubs[EXCEPTION_VECTORS][16] __attribute__((aligned(4096)));
__asm__(".globl switch_after_cr3, switch_stack_write, switch_breakpoint, switch_code_end\n"
        ".hidden switch_after_cr3, switch_stack_write, switch_breakpoint, switch_code_end\n"
        ".set switch_after_cr3, switch_first + 100\n"
        ".set switch_stack_write, switch_first + 103\n"
        ".set switch_breakpoint, switch_first + 108\n"
        ".set switch_code_end, switch_first + 120\n");

void cpu_read(struct cpu_state *state_ret) {
    *state_ret = fake_cpu;
}

uint64_t cpu_read_cr2(void) {
    return fake_cpu.cr2;
}

uint64_t cpu_read_cr3(void) {
    return fake_cpu.cr3;
}

void cpu_write_cr0(uint64_t value) {
    (void)value;
    fake_cpu_was_changed = true;
}

void cpu_write_cr3(uint64_t value) {
    (void)value;
    fake_cpu_was_changed = true;
}

void cpu_write_cr4(uint64_t value) {
    (void)value;
    fake_cpu_was_changed = true;
}

void cpu_interrupts_off(void) {
    fake_cpu_was_changed = true;
}

void cpu_halt(void) {
    if (fake_cpu_halted != NULL) {
        longjmp(*fake_cpu_halted, 1);
    }
    abort();
}

EXCEPTION_ABI void switch_jump(const struct switch_target *jump) {
    (void)jump;
    abort();
}

EXCEPTION_ABI void switch_load_tables(const struct switch_tables *tables) {
    (void)tables;
    fake_cpu_was_changed = true;
}

void fake_switch_reset(struct fake_memory *memory, unsigned levels) {
    memset(&fake_cpu, 0, sizeof(fake_cpu));
    fake_cpu.cr0 = CR0_PROTECTION | CR0_PAGING | CR0_WRITE_PROTECT;
    fake_cpu.cr4 = CR4_PAE | (levels == 5 ? CR4_LA57 : 0);
    fake_cpu.efer = EFER_LME | EFER_LMA | EFER_NXE;
    fake_cpu.cr3 = FAKE_OLD_ROOT;
    fake_cpu.max_phys_bits = 48;
    fake_cpu.features = CPU_NX;
    memcpy(fake_cpu.vendor, "GenuineIntel", sizeof(fake_cpu.vendor));
    fake_cpu_was_changed = false;
    next_table = UINT64_C(0x10000);
    fake_memory_page(memory, FAKE_OLD_ROOT);
    fake_memory_page(memory, FAKE_NEW_ROOT);
}

void fake_switch_allow_user(struct fake_memory *memory, uint64_t root, unsigned levels,
                            uint64_t virt) {
    uint64_t table = root;
    for (unsigned level = levels; level >= 1; level--) {
        uint64_t *entry = &fake_memory_page(memory, table)[level_index(virt, level)];
        *entry |= ENTRY_USER;
        table = *entry & ENTRY_FRAME_MASK;
    }
}

void fake_switch_map(struct fake_memory *memory, uint64_t root, unsigned levels, uint64_t virt,
                     uint64_t phys, uint64_t bits) {
    uint64_t table = root;
    for (unsigned level = levels; level > 1; level--) {
        uint64_t *entry = &fake_memory_page(memory, table)[level_index(virt, level)];
        if (*entry == 0) {
            *entry = next_table | ENTRY_PRESENT | ENTRY_WRITABLE;
            fake_memory_page(memory, next_table);
            next_table += PAGE_BYTES;
        }
        table = *entry & ENTRY_FRAME_MASK;
    }
    fake_memory_page(memory, table)[level_index(virt, 1)] = phys | bits;
}
