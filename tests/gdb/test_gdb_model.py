"""What `check` says of an instruction, against what the machine does: code is written behind a switch."""

from __future__ import annotations

import json
import re
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
STACK = "STACK"

CASES: list[tuple[str, dict[str, int | str]]] = [
    *[(f"{load} 90", {"rax": SELECTOR[name] | rpl})
      for load in (DS, SS, GS)
      for name, rpl in (("data", 0), ("null", 0), ("code", 0), ("absent", 0), ("readonly", 0),
                        ("execute_only", 0), ("ring3", 0), ("ring3", 3), ("data", 3), ("tss", 0),
                        ("unaccessed", 0))],
    *[(f"{load} 90", {"rax": OUTSIDE}) for load in (DS, SS, GS, LTR)],
    *[(f"{LTR} 90", {"rax": SELECTOR[name]}) for name in ("tss", "tss_busy", "data", "null")],
    *[(RETFQ, {"rbx": NEXT, "rcx": selector})
      for selector in (SELECTOR["code"], SELECTOR["data"], SELECTOR["code_absent"], 0, OUTSIDE,
                       SELECTOR["code_long_default"], SELECTOR["code_ring3"])],
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
]  # fmt: skip

SCRIPT = """cr3scope break --on-load bootx64
continue
python
import json
from cr3scope.forecast.forecast import forecast
from cr3scope_commands import run_to, target
from cr3scope.forecast.handlers import handlers
from cr3scope_commands.frame import frame_at_rsp

SAVED = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "rip", "eflags", "cs", "ss", "ds", "es", "fs", "gs")
gdb.execute("delete")
gdb.execute("set $eflags = $eflags & ~0x200")
inferior = gdb.selected_inferior()
start = target.stop()
kept = {name: int(gdb.parse_and_eval(f"${name}")) & (1 << 64) - 1 for name in SAVED}
code = kept["rip"]
tables = start.registers[forecast.__globals__["switch_at_pc"](start).register.upper()]
length = forecast.__globals__["switch_at_pc"](start).length
original = bytes(inferior.read_memory(code, 64))
stack = kept["rsp"] & ~0xFFF
places = {"HOLE": 0x180000000, "NEXT": code + length + 32, "STACK": stack - 0x800}
gdt = stack - 0x400
pointer = (len(GDT_BYTES) - 1).to_bytes(2, "little") + gdt.to_bytes(8, "little")
inferior.write_memory(gdt - 16, pointer)
for line in CASES_JSON:
    words, registers = line
    inferior.write_memory(gdt, GDT_BYTES)
    inferior.write_memory(code, original)
    for name, value in kept.items():
        gdb.execute(f"set ${name} = {value}")
    lgdt = bytes.fromhex("0f0115") + (gdt - 16 - (code + length + 7)).to_bytes(4, "little", signed=True)
    data = lgdt + bytes.fromhex(words.replace(" ", ""))
    inferior.write_memory(code + length, data.ljust(64, bytes([0x90])))
    inferior.write_memory(places["NEXT"] + 8, b"\\xeb\\xfe")
    for name, value in registers.items():
        gdb.execute(f"set ${name} = {places.get(value, value)}")
    now = target.stop()
    seen = forecast(now)
    fault = seen.fault
    stubs = handlers(now, now.delivery_registers)
    foreseen = None
    if fault is not None:
        expected = seen.refused.registers
        foreseen = [fault.vector, fault.error_code, fault.rip, expected.rsp, fault.cr2]
    run_to.run_to([*stubs, seen.last.rip if fault is None else places["NEXT"] + 8], True, 3)
    after = target.stop()
    came = None
    if after.rip in stubs:
        vector = stubs[after.rip][0]
        frame = frame_at_rsp(after, vector)
        cr2 = after.registers["CR2"] if vector == 14 else None
        came = [vector, frame.error, frame.rip, frame.rsp, cr2]
    print("CASE", json.dumps([words, registers, foreseen, came, seen.end]))
end
"""


def test_what_is_foreseen_of_an_instruction_is_what_the_machine_does(tmp_path: Path) -> None:
    gdt = b"".join(one.to_bytes(8, "little") for one in DESCRIPTORS.values())
    script = SCRIPT.replace("CASES_JSON", repr(CASES)).replace("GDT_BYTES", repr(gdt))
    text = foreign(tmp_path, make("foreign/nx_pml4.mended.efi"), script)
    told = [json.loads(line) for line in re.findall(r"^CASE (.*)$", text, re.MULTILINE)]
    assert len(told) == len(CASES), text
    differ = [line for line in told if line[2] != line[3]]
    assert not differ, "\n".join(map(str, differ))
    assert sum(line[2] is not None for line in told) > 30
