"""Kernels, .efi images and Linux headers, healthy or mistaken, with words of theirs changed: what lint reads."""

from __future__ import annotations

import json
import struct
from random import Random

from analyze.lint_files import DATA, END, RELOC, START, TEXT, Image, Kernel, Segment, linux, multiboot1, multiboot2, request, tag
from analyze.test_lint_kernels import HEALTHY, LEAF, MISTAKES, behind
from fuzz.logs import kept_as_file
from fuzz.noise import damaged, number
from fuzz.target import HOSTILE, Case, Target, require, require_whole, shown

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.lint import lint
from cr3scope.errors import UnusableInput
from cr3scope.render.lint import as_blocks, as_dict
from cr3scope.render.table import lines_of

_BASE = 0xFFFF_FFFF_8000_0000


def _kernel(rng: Random) -> bytes:
    if rng.random() < 0.4:
        kernel = rng.choice([*HEALTHY.values(), *(row[3] for row in MISTAKES)])
        return kernel if isinstance(kernel, bytes) else kernel.bytes()
    prefix = rng.choice((multiboot1(rng.choice((0, 3, 1 << 16)), addresses=[number(rng, 0x10_0000, 32) for _ in range(5)]),
                         multiboot2(b"".join(tag(rng.randrange(12), bytes(rng.randrange(40))) for _ in range(rng.randrange(9)))), b""))
    code = behind(*[LEAF] * rng.randrange(1, 6))
    data = START + b"".join(request(rng.randrange(4)) for _ in range(rng.randrange(6))) + END
    segments = [code.segments[0], Segment(_BASE + 0x2000, rng.randrange(8), data, memsz=number(rng, 0x1000, 32))]
    return Kernel(segments=segments, symbols={**code.symbols, rng.choice(HOSTILE): (_BASE + 0x1010, 9)},
                  undefined=[rng.choice(HOSTILE)] * rng.randrange(3), prefix=prefix).bytes()  # fmt: skip


def _image(rng: Random) -> bytes:
    sections = [TEXT, DATA, RELOC][: rng.randrange(4)]
    return Image(sections=sections, dll=rng.choice((0, 0x100)), section_alignment=number(rng, 0x1000, 32), size=number(rng, 0x4000, 32)).bytes()


def _make(rng: Random) -> Case:
    data = bytearray(rng.choice((_kernel, _kernel, _image, lambda rng: linux(rest=rng.randrange(70))))(rng))
    for _ in range(rng.choice((0, 1, 2, 5))):
        at, form = rng.randrange(0, max(len(data) - 8, 1)), rng.choice("HIQ")
        if rng.random() < 0.7:
            at = rng.randrange(0, min(len(data) - 8, 0x240)) // 4 * 4
        value = number(rng, struct.unpack_from("<" + form, data, at)[0], 8 * struct.calcsize(form))
        struct.pack_into("<" + form, data, at, value)
    out = damaged(rng, bytes(data)) if rng.random() < 0.1 else bytes(data)
    return Case(out[: rng.randrange(len(out) + 1)] if rng.random() < 0.05 else out, ".elf")


def _check(case: Case) -> None:
    with kept_as_file(case.data, ".elf") as path:
        try:
            linted = lint(path)
        except UnusableInput as error:
            require(str(error).strip(), "a refusal without a word")
            return
    require(linted.forms, "a file that is nothing, and no refusal")
    require(all(one.rule in BY_ID for one in linted.findings), "a finding of no rule")
    require_whole(linted.findings)
    shown("\n".join(lines_of(as_blocks([linted]))))
    shown(json.dumps(as_dict([linted])))


LINT = Target("lint", _make, _check, ("diagnose/lint.py", "diagnose/rules/files", "images/boot_file.py", "images/efi_file.py", "images/kernel_file.py",
                                      "images/protocols", "diagnose/facts/file_uses.py", "diagnose/facts/reached_code.py", "x86/decode/stack_slots.py"))
