/* The CPU's state at entry, as far as the contract promises it. */
#include "checks.h"
#include "report.h"
#include "text.h"
#include "trace/control_registers.h"
#include "trace/cpu.h"

#define RFLAGS_DF (UINT64_C(1) << 10) /* SDM volume 1, 3.4.3.2 */

void check_control(void) {
    struct cpu_state cpu;
    cpu_read(&cpu);
    struct text detail;
    text_set(&detail, "cr0 %lx", cpu.cr0);
    report((cpu.cr0 & CR0_WRITE_PROTECT) != 0, "cpu.write-protect", detail.bytes);

    text_set(&detail, "efer %lx", cpu.efer);
    report((cpu.efer & EFER_NXE) != 0, "cpu.no-execute", detail.bytes);
}

void check_cpu(const struct boot *boot) {
    check_control();
    struct text detail;
    uint64_t rflags = boot->entry->rflags;
    text_set(&detail, "rflags %lx at entry", rflags);
    report((rflags & (RFLAGS_IF | RFLAGS_DF)) == 0, "cpu.flags", detail.bytes);

    /* System V x86-64 ABI, 3.2.2: RSP + 8 is a multiple of 16 at a function's first instruction. */
    const struct handoff_stacks *stacks = &boot->handoff->stacks;
    uint64_t rsp = (uint64_t)(uintptr_t)&boot->entry->return_address;
    text_set(&detail, "rsp %lx at entry, return address %lx", rsp, boot->entry->return_address);
    report(rsp % 16 == 8 && rsp == stacks->virt + stacks->stride - 8 &&
               boot->entry->return_address == 0,
           "cpu.stack-pointer", detail.bytes);
}
