"""What a format is recognised by, where its reader looks for the same: apart from both, so that neither imports the other."""

from __future__ import annotations

BOCHS_PANIC = (b">>PANIC<<", b"&gt;&gt;PANIC&lt;&lt;")  # the second as web pages quote it
TRYING, FATAL = b"Trying to execute code outside RAM or ROM at ", b"qemu: fatal: "  # QEMU
VMCS, VMCB = b"*** Guest State ***", b"VMCB State Save Area:"

LINUX_PANIC = b"Kernel panic - not syncing: "  # kernel/panic.c
LINUX_EARLY, LINUX_DOUBLE = b"PANIC: early exception ", b"PANIC: double fault"  # arch/x86/mm/extable.c, kernel/traps.c: it halts behind them
LINUX_BY = "the kernel's oops"
LINUX = (
    b"BUG: unable to handle ", b"BUG: kernel NULL pointer", b" [#", LINUX_EARLY, LINUX_DOUBLE,
    b"Corrupted page table at ", LINUX_PANIC,
)  # fmt: skip

XEN_SPEAKS = b"(XEN)"
XEN_LINE = rb"\(XEN\) (?:\[[^\]\r\n]{1,20}\] )?"  # a pattern: before each line of the hypervisor's
XEN_BY = "Xen's own report"
XEN_PANIC = b"Panic on CPU "  # xen/drivers/char/console.c
XEN_DOM0 = b"Hardware Dom0 crashed"  # xen/common/shutdown.c
XEN = (
    b"----[ Xen-", b"Pagetable walk from ", b"FATAL PAGE FAULT", b"FATAL TRAP: vec", XEN_PANIC, b"fault/trap [#",
    b"Unhandled: vec ",
)  # fmt: skip

OWN_BY = "a kernel's own words"
OWN = (
    b"rip", b"RIP", b"Rip", b"eip", b"EIP", b"cr2", b"CR2", b"Cr2", b"instruction_pointer", b"nstruction pointer",
    b"nstruction Pointer",
)  # fmt: skip

SCREENS = (b"!!!! X64 Exception Type - ", b"!!!! IA32 Exception Type - ")
SCREEN_BY = "the firmware's screen"
