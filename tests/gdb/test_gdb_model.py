"""What `check` says of code, against what the machine does: code is written behind a switch."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from boot.reference import make
from gdb_session import foreign

# Selectors of a GDT of our own. A descriptor is 8 bytes (Intel SDM volume 3A, figure 3-8).
DESCRIPTORS = {
    "null": 0,
    "code": 0x00AF9B000000FFFF,
    "data": 0x00CF93000000FFFF,
    "code32": 0x00CF9B000000FFFF,
    "absent": 0x00CF13000000FFFF,
    "readonly": 0x00CF91000000FFFF,
    "firmware_data": 0x00CF93000000FFFF,  # 30h and 38h, as the firmware's handlers want them
    "firmware_code": 0x00AF9B000000FFFF,
    "execute_only": 0x00AF99000000FFFF,
    "unaccessed": 0x00CF92000000FFFF,
    "ring3": 0x00CFF3000000FFFF,
    "code_absent": 0x00AF1B000000FFFF,
    "code_long_default": 0x00EF9B000000FFFF,
    "code_ring3": 0x00AFFB000000FFFF,
    "tss": 0x0000890030000067,
    "tss_high": 1,
    "tss_busy": 0x00008B0030000067,
    "tss_busy_high": 1,
}
SELECTOR = {name: 8 * number for number, name in enumerate(DESCRIPTORS)}
OUTSIDE = 8 * len(DESCRIPTORS)

DS, SS, GS, LTR = "8ed8", "8ed0", "8ee8", "0f00d8"
RETFQ = "51 53 48cb"  # push rcx; push rbx; retfq
IRETQ = "52 56 9c 51 53 48cf"  # push rdx (SS), rsi (RSP), the flags, rcx (CS), rbx (RIP); iretq
HOLE = "HOLE"  # an address that the tables do not map
NEXT = "NEXT"  # behind the code
STACK, STACK_ODD = "STACK", "STACK_ODD"

CASES: list[tuple[str, dict[str, int | str]]] = [
    *[(f"{load} 90", {"rax": SELECTOR[name] | rpl})
      for load in (DS, SS, GS)
      for name, rpl in (("data", 0), ("null", 0), ("code", 0), ("absent", 0), ("readonly", 0),
                        ("execute_only", 0), ("ring3", 0), ("ring3", 3), ("data", 3), ("tss", 0),
                        ("unaccessed", 0))],
    *[(f"{load} 90", {"rax": OUTSIDE}) for load in (DS, SS, GS, LTR)],
    *[(f"{LTR} 90", {"rax": SELECTOR[name]}) for name in ("tss_busy", "data")],
    *[(RETFQ, {"rbx": NEXT, "rcx": selector})
      for selector in (SELECTOR["code"], SELECTOR["data"], SELECTOR["code_absent"], 0, OUTSIDE,
                       SELECTOR["code_long_default"], SELECTOR["code_ring3"])],
    *[(code, {"rbx": NEXT, "rcx": selector, "rsi": STACK, "rdx": SELECTOR["ring3"] | 3})  # to an outer ring
      for code in (RETFQ, IRETQ)
      for selector in (SELECTOR["code"] | 3, SELECTOR["data"] | 3, SELECTOR["code_ring3"] | 1, SELECTOR["tss"] | 3, OUTSIDE | 3)],
    *[(IRETQ, {"rbx": NEXT, "rcx": SELECTOR["code"], "rsi": STACK, "rdx": SELECTOR[name]})
      for name in ("data", "null", "readonly", "code", "absent", "ring3")],
    (IRETQ, {"rbx": NEXT, "rcx": SELECTOR["data"], "rsi": STACK, "rdx": SELECTOR["data"]}),
    ("0f0b", {}),
    ("bc00000080 50", {}),  # mov esp, 2 GiB; push rax: mapped
    ("48bc 0000000001000000 50", {}),  # mov rsp, 4 GiB; push rax: just mapped
    ("f348ab 90", {"rdi": STACK, "rcx": 64, "rax": 0}),  # rep stosq
    ("f348ab 90", {"rdi": 0xFFFFF000, "rcx": 1024, "rax": 0}),  # runs into what is not mapped
    ("f3a4 90", {"rdi": STACK, "rsi": 0xFFFFFFFE, "rcx": 8}),  # rep movsb, reads beyond
    ("488b03", {"rbx": HOLE}),
    ("488903", {"rbx": HOLE}),
    ("488b03", {"rbx": 1 << 63}),  # not canonical
    ("ffe3", {"rbx": HOLE}),
    ("53 c3", {"rbx": HOLE}),  # push; ret
    ("94 90", {"rax": STACK}),  # xchg eax, esp
    *[("6650 660fa1 90", {"rax": selector}) for selector in (SELECTOR["data"], OUTSIDE)],  # push ax; pop fs
    *[("51 53 48ff2c24", {"rbx": NEXT, "rcx": selector})  # push rcx; push rbx; ljmp [rsp]
      for selector in (SELECTOR["code"], SELECTOR["data"], SELECTOR["code_absent"], 0, OUTSIDE)],
    ("51 53 cb", {"rbx": NEXT, "rcx": SELECTOR["code"]}),  # retf pops words of four bytes
    ("c8200000 c9", {"rbp": STACK}),  # enter 32, 0; leave
    ("fd f348ab", {"rdi": STACK, "rcx": 0, "rax": 0}),  # std; rep stosq that stores nothing
    ("668b03", {"rbx": HOLE}),
    ("678b03", {"rbx": HOLE}),  # addr32: the lower half of the address alone, which is mapped
    ("0f2803", {"rbx": HOLE}),  # movaps
    ("0f0d0b 0f1803", {"rbx": HOLE}),  # prefetches read nothing
    ("0f1f03", {"rbx": HOLE}),  # nor does nop
    ("a4", {"rdi": STACK, "rsi": HOLE}),  # movsb
    ("ff13", {"rbx": HOLE}),  # call [rbx]
    ("8f03", {"rbx": HOLE}),  # pop [rbx]
    ("f00fc103", {"rbx": HOLE, "rax": 1}),  # lock xadd
    *[(code, {"rbx": HOLE}) for code in (
        "d7",  # xlat, which reads RBX + AL
        "0f1103", "0fc303", "d91b", "660f3a160301", "0f01 03",  # movups, movnti, fstp, pextrd, sgdt: writes
        "0f1003", "d903", "0f ae13",  # movups, fld, ldmxcsr: reads
        "4801 03", "d023", "0fc70b",  # add, shl, cmpxchg8b: read and write
        "0f01 1b",  # lidt
        "65 8b03",  # mov eax, gs:[rbx]
    )],
    ("0f2803", {"rbx": STACK_ODD}),  # movaps of no multiple of 16
    ("0fae03", {"rbx": STACK_ODD}),  # fxsave
    ("480fa303", {"rbx": STACK, "rax": 1 << 38}),  # bt: the bit lies far away
    ("480fa303", {"rbx": HOLE, "rax": (1 << 64) - (1 << 38)}),  # and back from there
    ("6e", {"rsi": HOLE}),  # outsb
    ("a4", {"rdi": HOLE, "rsi": 1 << 63}),  # movsb reads first
    ("a6", {"rdi": HOLE, "rsi": 1 << 63}),  # cmpsb
    ("f2ae 90", {"rdi": 0xFFFFFFF0, "rcx": 64, "rax": 1}),  # repne scasb, over the edge of what is mapped
    ("488b03", {"rbx": (1 << 64) - 4}),  # over the end of the address space
    ("48893b", {"rbx": 0xFFFFFFFC}),  # half of it mapped
    ("48f7f1", {"rax": 1, "rcx": 0, "rdx": 0}),  # div by 0
    ("48f7f1", {"rax": 1, "rcx": 1, "rdx": 1}),  # a quotient of 65 bits
    ("48f7f9", {"rax": 1 << 63, "rcx": (1 << 64) - 1, "rdx": (1 << 64) - 1}),  # idiv: -2^63 / -1
    ("48f7f9", {"rax": (1 << 64) - 9, "rcx": 3, "rdx": (1 << 64) - 1}),
    ("c9", {"rbp": HOLE}),  # leave
    ("8f442400 90", {}),  # pop [rsp], which counts from RSP afterwards
    ("51 6a00 0fb2 0424", {"rcx": OUTSIDE}),  # lss eax, [rsp] with a null selector
    ("48c7442404 90000000 90 0fb20424", {}),  # with one outside the GDT
    ("51 53 ff2c24", {"rbx": NEXT, "rcx": SELECTOR["code"]}),  # ljmp m16:32
    ("8403", {"rbx": HOLE}),  # test [rbx], al
    ("f653 10", {"rbx": HOLE}),  # not byte [rbx + 16]
    ("51 53 ff1c24", {"rbx": NEXT, "rcx": SELECTOR["code"]}),  # lcall m16:32
    ("53 f3c3", {"rbx": HOLE}),  # push; repz ret
    ("9c 58 50 9d 90", {}),  # pushfq; pop rax; push rax; popfq
    # What loads TR comes last: firmware's gates may name stacks of its TSS.
    *[(f"{LTR} 90", {"rax": SELECTOR[name]}) for name in ("null", "tss")],
]  # fmt: skip

# What both scripts begin with: the guest at the switch of a healthy loader, and how it gets back there.
HEAD = """cr3scope break --on-load bootx64
continue
python
import json
from cr3scope.model.code_prediction import predict_code
from cr3scope.model.handlers import handlers
from cr3scope.target.switch import new_cr3
from cr3scope.model.follow.follow import follow
from cr3scope.render.message import text
from cr3scope_commands import run_to, target
from cr3scope.model.frame import frame_at_rsp

GENERAL = "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 eflags cs ss ds es fs gs".split()
gdb.execute("delete")
gdb.execute("set $eflags = $eflags & ~0x200")
inferior = gdb.selected_inferior()
start = target.stop()
kept = {name: int(gdb.parse_and_eval(f"${name}")) & (1 << 64) - 1 for name in GENERAL}
# By a register that no case uses, whichever the compiler took.
kept["r14"] = new_cr3(start)
switch = bytes.fromhex("410f22de")  # mov cr3, r14
length = len(switch)
original = switch + bytes(inferior.read_memory(start.rip + length, 60))
stack = start.rsp & ~0xFFF

def put(registers, rip):
    for name, value in {**kept, **registers}.items():
        gdb.execute(f"set ${name} = {value}")
    for _ in range(9):
        gdb.execute(f"set $rip = {rip}")
        now = target.stop()
        if now.rip == rip:
            return now
        # QEMU 7.2 now and then forgets a RIP that is written right after a breakpoint was hit.
        gdb.execute("maintenance flush register-cache")
    raise RuntimeError("RIP cannot be set")
"""

REFUSALS = HEAD + """
places = {"HOLE": 0x180000000, "NEXT": start.rip + length + 32, "STACK": stack - 0x800,
          "STACK_ODD": stack - 0x7f9}
gdt = stack - 0x400
pointer = (len(GDT_BYTES) - 1).to_bytes(2, "little") + gdt.to_bytes(8, "little")
inferior.write_memory(gdt - 16, pointer)
for words, registers in CASES_JSON:
    inferior.write_memory(gdt, GDT_BYTES)
    inferior.write_memory(start.rip, original)
    lgdt = bytes.fromhex("0f0115") + (gdt - 16 - (start.rip + length + 7)).to_bytes(4, "little", signed=True)
    data = lgdt + bytes.fromhex(words.replace(" ", ""))
    inferior.write_memory(start.rip + length, data.ljust(64, bytes([0x90])))
    inferior.write_memory(places["NEXT"] + 8, b"\\xeb\\xfe")
    now = put({name: places.get(value, value) for name, value in registers.items()}, start.rip)
    seen = predict_code(now)
    fault = seen.fault
    stubs = handlers(now, now.delivery_registers)
    foreseen = None
    if fault is not None:
        foreseen = [fault.vector, fault.error_code, fault.rip, seen.refused.registers.rsp, fault.cr2]
    run_to.run_to([*stubs, seen.last.rip if fault is None else places["NEXT"] + 8], True, 3)
    after = target.stop()
    came = None
    if after.rip in stubs:
        vector = stubs[after.rip][0]
        frame = frame_at_rsp(after, vector)
        came = [vector, frame.error, frame.rip, frame.rsp, after.registers["CR2"] if vector == 14 else None]
    elif fault is None and after.rip != seen.last.rip:
        came = ["elsewhere", after.rip, seen.last.rip]
    print("CASE", json.dumps([words, registers, foreseen, came, text(seen.end)]))
end
"""

# Assembly, after which every register that is said to be known must hold what is said. R15 points to
# memory of the case's own.
SEQUENCES = """
mov %eax, %ebx; mov %ax, %cx; mov %al, %dl; movabs $0x1122334455667788, %rsi
movl $-1, 8(%r15); mov 8(%r15), %rax; mov 8(%r15), %ecx; mov 10(%r15), %dx
mov %rsp, %rbx; sub $24, %rsp; and $-16, %rsp; mov %rsp, %rcx; mov %rbx, %rsp
push %rax; push $-5; pushw %bx; popw %cx; pop %rdx; pop %rsi
pushq 8(%r15); popq 16(%r15); mov 16(%r15), %rax; push %fs; pop %rbx
enter $32, $0; mov %rbp, %rax; leave; push %rbp; mov %rsp, %rbp; sub $40, %rsp; leave
call 1f; nop; 1: pop %rax; jmp 2f; ud2; 2: lea 1b(%rip), %rbx; push %rbx; addq $5, (%rsp); pop %rcx
lea 7(%rax,%rbx,4), %rcx; lea -9(%rax,%rcx,2), %edx; lea 3(%rbx), %si
xor %eax, %eax; sub %ebx, %ebx; dec %eax; inc %rbx; neg %rbx; not %ecx; dec %bl; inc %cx
add %rax, %rbx; sub %ecx, %edx; and $-64, %rsi; or %rdi, %rax; xor $15, %ecx; cmp %rax, %rbx; test %eax, %eax
xchg %rax, %rbx; xchg %ecx, %edx; xchg %rsi, 8(%r15); cmpxchg %rax, 16(%r15); lock xadd %rbx, 24(%r15)
cltq; cqto; cwtl; movzbl %al, %ebx; movsbq %cl, %rdx; movzwq 8(%r15), %rsi; movslq %eax, %rdi; bswap %ecx
cmp %rax, %rbx; cmove %rcx, %rdx; setb %al; shl $3, %rbx; ror $2, %ecx; imul %eax, %edx; mul %rcx; cpuid
lea 64(%r15), %rdi; mov $3, %ecx; mov %rbx, %rax; rep stosq; mov 72(%r15), %rdx; mov %rdi, %rsi
lea 8(%r15), %rsi; lea 64(%r15), %rdi; mov $5, %ecx; cld; rep movsb; lodsb; stosw; scasb; mov 64(%r15), %rax
rdtsc; lahf; sahf; pushfq; popfq; pushfq; pop %rax; mov %cr3, %rbx; mov %ds, %ecx; str %dx; smsw %esi
""".strip().splitlines()

KNOWN = HEAD + """
code = (start.rip + 0x100) & ~15
for number, data in enumerate(CODES):
    inferior.write_memory(code, bytes.fromhex(data))
    values = {name: 0x0102030405060708 * (place + 1) & (1 << 64) - 1 for place, name in enumerate(GENERAL[:6])}
    now = put({**values, "r15": stack - 0x800}, code)
    reads = lambda virt, count: now.bytes_at(virt, count) or None
    path = follow(reads, now.general, now.delivery_registers, 64, now.cpu, now.platform)
    run_to.run_to([path.last.rip, *handlers(now, now.delivery_registers)], True, 3)
    after = target.stop()
    wrong = [] if after.rip == path.last.rip else [["rip", after.rip, path.last.rip]]
    known = {name: value for name, value in path.at_end.items() if name in after.general and value is not None}
    wrong += [[name, value, after.general[name]] for name, value in known.items() if after.general[name] != value]
    print("CASE", json.dumps([number, text(path.end), path.count, len(known), wrong]))
end
"""


def test_what_is_foreseen_of_an_instruction_is_what_the_machine_does(tmp_path: Path) -> None:
    gdt = b"".join(one.to_bytes(8, "little") for one in DESCRIPTORS.values())
    script = REFUSALS.replace("CASES_JSON", repr(CASES)).replace("GDT_BYTES", repr(gdt))
    text = foreign(tmp_path, make("foreign/nx_pml4.mended.efi"), script)
    told = [json.loads(line) for line in re.findall(r"^CASE (.*)$", text, re.MULTILINE)]
    assert len(told) == len(CASES), text
    differ = [line for line in told if line[2] != line[3]]
    assert not differ, "\n".join(map(str, differ))
    assert sum(line[2] is not None for line in told) > 30


def test_what_registers_are_said_to_hold_is_what_they_hold(tmp_path: Path) -> None:
    codes = [assembled(tmp_path, sequence).hex() for sequence in SEQUENCES]
    text = foreign(tmp_path, make("foreign/nx_pml4.mended.efi"), KNOWN.replace("CODES", repr(codes)))
    told = [json.loads(line) for line in re.findall(r"^CASE (.*)$", text, re.MULTILINE)]
    assert len(told) == len(SEQUENCES), text
    for number, end, count, known, wrong in told:
        assert not wrong, (SEQUENCES[number], wrong)
        assert " hlt at " in end and count >= 3 and known >= 9, (SEQUENCES[number], end, count, known)


def assembled(folder: Path, sequence: str) -> bytes:
    """The bytes of GNU assembly, with a `hlt` behind it."""
    source, built, code = folder / "code.S", folder / "code.o", folder / "code.bin"
    source.write_text("\n".join([*sequence.split("; "), "hlt", ""]))
    subprocess.run(["as", source, "-o", built], check=True)
    subprocess.run(["objcopy", "-O", "binary", "-j", ".text", built, code], check=True)
    return code.read_bytes()
