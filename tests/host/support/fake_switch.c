#include "support/fake_switch.h"

#include <stdlib.h>
#include <string.h>

#include "trace/control_registers.h"
#include "trace/paging.h"

struct cpu_state fake_cpu;
bool fake_cpu_was_changed;
jmp_buf *fake_cpu_halted;
unsigned fake_cpu_nmis;
uint64_t fake_cpu_dr7;
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

uint64_t cpu_read_dr6(void) {
    return 0;
}

void cpu_write_dr6(uint64_t value) {
    (void)value;
}

uint64_t cpu_read_dr7(void) {
    return fake_cpu_dr7;
}

void cpu_write_dr7(uint64_t value) {
    fake_cpu_dr7 = value;
}

void cpu_raise_nmi(void) {
    fake_cpu_nmis++;
}

const char rehearse_code[1024] __attribute__((aligned(16)));
__asm__(".globl rehearse_stubs, rehearse_code_end\n"
        ".hidden rehearse_stubs, rehearse_code_end\n"
        ".set rehearse_stubs, rehearse_code + 512\n"
        ".set rehearse_code_end, rehearse_code + 1024\n");
__asm__(".globl switch_try_read_end, switch_try_read_nmi\n"
        ".hidden switch_try_read_end, switch_try_read_nmi\n"
        ".set switch_try_read_end, switch_first + 130\n"
        ".set switch_try_read_nmi, switch_first + 140\n");

/* Nothing is mapped anywhere: requests here have a callback. */
EXCEPTION_ABI unsigned switch_try_read(uint64_t virt, uint64_t *value_ret,
                                       const struct switch_tables *guarded,
                                       const struct switch_tables *now) {
    (void)virt;
    (void)value_ret;
    (void)guarded;
    (void)now;
    return 0;
}

void (*fake_rehearse)(struct switch_probe *probe);

/* As on a machine that allows all, unless the test has another one. */
EXCEPTION_ABI void rehearse_enter(struct switch_probe *probe) {
    probe->entered = 1;
    probe->vector = PROBE_WENT_THROUGH;
    if (fake_rehearse != NULL) {
        fake_rehearse(probe);
    }
}

void cpu_write_back(void) {
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
    fake_rehearse = NULL;
    fake_cpu_nmis = 0;
    fake_cpu_dr7 = 0x400;
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
