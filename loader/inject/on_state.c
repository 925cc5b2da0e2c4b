/* Faults in control registers. */
#include "inject/fault_actions.h"
#include "trace/control_registers.h"
#include "trace/cpu.h"

void on_state_without_nxe(struct cpu_state *planned) {
    planned->efer &= ~EFER_NXE;
}

void on_state_with_smep(struct cpu_state *planned) {
    planned->cr4 |= CR4_SMEP;
}

void on_state_with_smap(struct cpu_state *planned) {
    planned->cr4 |= CR4_SMAP;
}
