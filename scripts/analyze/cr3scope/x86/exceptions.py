"""Names of the CPU's exceptions, what their error codes say, and how two of them combine.

Intel SDM volume 3A: sections 7.3.1 (names), 7.13 (error codes), 7.15 (double fault), 5.7 (page fault).
"""

from __future__ import annotations

DIVIDE, DEBUG, NMI, BREAKPOINT, UNDEFINED, NO_FPU, DOUBLE_FAULT = 0, 1, 2, 3, 6, 7, 8
INVALID_TSS, NOT_PRESENT, STACK_FAULT, PROTECTION, PAGE_FAULT, ALIGNMENT = 10, 11, 12, 13, 14, 17
MACHINE_CHECK = 18

NAMES = {
    0: "#DE", 1: "#DB", 2: "NMI", 3: "#BP", 4: "#OF", 5: "#BR", 6: "#UD", 7: "#NM", 8: "#DF",
    10: "#TS", 11: "#NP", 12: "#SS", 13: "#GP", 14: "#PF", 16: "#MF", 17: "#AC", 18: "#MC",
    19: "#XM", 20: "#VE", 21: "#CP", 29: "#VC", 30: "#SX",
}  # fmt: skip

# Below are the CPU's own (SDM 3A, 7.2); above, whatever the system gives its devices.
FIRST_INTERRUPT = 32
FRAME_REACH = 64  # bytes below RSP: a frame is 48, and RSP is first aligned to 16

# Vectors that push an error code (SDM 3A, 7.13).
WITH_ERROR_CODE = frozenset({8, 10, 11, 12, 13, 14, 17, 21, 30})

# Of these, those whose error code names a descriptor; #DF's and #AC's is 0, others have their own.
SELECTOR_ERRORS = frozenset({10, 11, 12, 13})

# Of such an error code (SDM 3A, figure 7-7).
EXTERNAL, IN_IDT, IN_LDT = 1, 2, 4

# Classes of SDM 3A table 7-4; any other vector is benign.
CONTRIBUTORY = frozenset({0, 10, 11, 12, 13, 21})
PAGE_FAULTS = frozenset({14, 20})

# So many equal exceptions in a row are a storm; fewer are the prelude of a triple fault.
STORM_RUN = 16

# Error code of a page fault (SDM 3A, figure 5-12). W, U and SS describe the access, not the page.
PF_PRESENT, PF_WRITE, PF_USER, PF_RESERVED, PF_FETCH = 1, 2, 4, 8, 16
PF_KEY, PF_SHADOW_STACK = 32, 64


def name(vector: int) -> str:
    """Return the manual's name of an exception, as ``#PF`` for 14; ``vector 32`` for one that has none."""
    return NAMES.get(vector, f"vector {vector}")


def makes_double_fault(first: int, second: int) -> bool:
    """Return whether ``second``, raised while ``first`` is delivered, becomes a double fault (table 7-5)."""
    if first in CONTRIBUTORY:
        return second in CONTRIBUTORY
    return first in PAGE_FAULTS and (second in CONTRIBUTORY or second in PAGE_FAULTS)


def raised_at(vector: int, saved_rip: int | None) -> int | None:
    """Return the address of the instruction that raised the exception whose frame saved this RIP; None for
    None.

    INT3, which has one byte, saves the address of the next instruction (SDM 3A, 7.15, interrupt 3).
    """
    return saved_rip - 1 if vector == BREAKPOINT and saved_rip else saved_rip


def page_fault_access(error_code: int) -> str:
    """Return ``fetch``, ``write`` or ``read``: the access that a page fault's error code tells of."""
    if error_code & PF_FETCH:
        return "fetch"
    return "write" if error_code & PF_WRITE else "read"


def page_fault_words(error_code: int, is_fetch: bool | None = False) -> str:
    """Return in words what a page fault's error code says: ``instruction fetch, present``.

    ``is_fetch``: it was one, which the code of a CPU without NX and SMEP does not tell (SDM 3A, 5.7); None if nobody knows.
    """
    access = "fetch" if is_fetch else page_fault_access(error_code)
    words = ["instruction fetch" if access == "fetch" else access]
    if is_fetch is None and access == "read":
        words = ["read or instruction fetch"]
    if error_code & PF_USER:
        words.append("user mode")
    if error_code & PF_RESERVED:
        words.append("reserved bit set")
    elif error_code & PF_PRESENT:
        words.append("present")
    else:
        words.append("not present")
    if error_code & PF_KEY:
        words.append("protection key")
    if error_code & PF_SHADOW_STACK:
        words.append("shadow stack")
    return ", ".join(words)


def describe(
    vector: int, error_code: int | None, is_fetch: bool | None = False, in_long_mode: bool | None = None
) -> str:
    """Return an exception in words, with its error code if it has one: ``#PF (error 0011: instruction fetch,
    present)``. ``is_fetch``: as for :func:`page_fault_words`; ``in_long_mode``: as for :func:`selector_words`."""
    if error_code is None:
        return name(vector)
    if vector in PAGE_FAULTS:
        return f"{name(vector)} (error {error_code:04x}: {page_fault_words(error_code, is_fetch)})"
    if vector not in WITH_ERROR_CODE:
        return name(vector)
    words = f": {selector_words(error_code, in_long_mode)}" if vector in SELECTOR_ERRORS and error_code else ""
    return f"{name(vector)} (error {error_code:04x}{words})"


def selector_words(error_code: int, in_long_mode: bool | None = None) -> str:
    """Return what an error code other than 0 says that names a descriptor: ``GDT selector 38h`` (SDM 3A, 7.13).

    QEMU's TCG before 8.0 has vector * 16 + 2 for a gate in long mode; an even number may be twice the gate's. It never
    sets EXT. ``in_long_mode``: None if nobody knows.
    """
    external, in_idt, local = error_code & EXTERNAL, error_code & IN_IDT, error_code & IN_LDT
    gate = error_code >> 3 & 0x1FFF
    if in_idt:
        words = f"gate {gate} of the IDT"
        if gate % 2 == 0 and not local and not external and in_long_mode is not False:
            words = f"gate {gate} of the IDT, or {gate // 2} with QEMU before 8.0"
    else:
        words = f"{'LDT' if local else 'GDT'} selector {error_code & 0xFFF8:02x}h"
    return f"{words}, on delivery of an event" if external else words


def same_selector_error(predicted: int, seen: int, any_version: bool = False) -> bool:
    """Return whether two error codes name the same descriptor; EXT does not count, which QEMU TCG never sets.

    ``any_version``: nobody told which QEMU ran, and ``seen`` may name a gate as QEMU before 8.0 does, by
    vector * 16 + 2, where ``predicted`` has vector * 8 + 2.
    """
    predicted, seen = predicted & ~EXTERNAL, seen & ~EXTERNAL
    if any_version and predicted & IN_IDT and not (predicted | seen) & IN_LDT:
        return seen in (predicted, 2 * (predicted - IN_IDT) + IN_IDT)
    return predicted == seen


def same_error(one: int, other: int) -> bool:
    """Return whether two error codes are equal, but for P where RSVD is set: QEMU's TCG leaves P out, hardware
    sets it."""
    if one & other & PF_RESERVED:
        return one | PF_PRESENT == other | PF_PRESENT
    return one == other
