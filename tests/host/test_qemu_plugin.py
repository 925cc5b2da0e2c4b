"""The plugin of QEMU: built for each version of QEMU's API, and what its parts say of bytes."""

from __future__ import annotations

import ctypes
import re
import subprocess
from pathlib import Path

import pytest
from boot.reference import ROOT

from cr3scope.input.writers import layout
from cr3scope.input.writers.layout import Section
from cr3scope.qemu.plugin_build import NEWEST_API, compile_command

SOURCES = ROOT / "scripts/qemu_plugin"
STRICT = ("-Wall", "-Wextra", "-Wshadow", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Wconversion", "-Werror")
OTHER, JUMP, INDIRECT, CALL, RETURN, INTERRUPT_RETURN = range(6)
TRANSLATION = 15


class Meaning(ctypes.Structure):
    _fields_ = [("flow", ctypes.c_int), ("event", ctypes.c_int), ("offset", ctypes.c_int64)]


@pytest.mark.slow
@pytest.mark.parametrize("api", range(1, NEWEST_API + 1))
def test_it_compiles_without_a_warning_for_each_version_of_the_api(api: int, tmp_path: Path) -> None:
    words = compile_command("cc", (*STRICT, f"-DCR3SCOPE_API={api}"), sorted(SOURCES.glob("*.c")), tmp_path / "plugin.so")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


def test_both_sides_have_one_layout(tmp_path: Path) -> None:
    sizes = "\n".join(f'printf("%zu\\n", sizeof(struct {name}));' for name in
                      ("header", "instruction", "call", "store", "moment", "event", "block", "trail", "page", "slots", "values", "halves"))
    most = re.findall(r"MOST_\w+", (SOURCES / "file.c").read_text())
    text = f'#include <stdio.h>\n#include "layout.h"\nint main(void) {{ {sizes}\n' + "".join(
        f'printf("%d\\n", {name});' for name in most) + 'printf("%d %d %d %u %u\\n", EVENT_FAR_RETURN, FLAG_FULL, FLAG_HALVES, SLOT_LOW, SLOT_HIGH);}'
    (tmp_path / "sizes.c").write_text(text)
    subprocess.run(["cc", "-I", SOURCES, tmp_path / "sizes.c", "-o", tmp_path / "sizes"], check=True)
    told = [*map(int, subprocess.run([tmp_path / "sizes"], capture_output=True, text=True, check=True).stdout.split())]
    own = layout.SIZES
    assert told[0] == layout.HEADER.size
    assert told[1:12] == [own[section][1] for section in Section]
    assert told[12:-5] == [own[section][0] for section in Section]
    assert told[-5:] == [len(layout.EVENTS) - 1, layout.FULL, layout.HALVES_LOST, layout.SLOT_LOW, layout.SLOT_HIGH]


@pytest.mark.parametrize(
    ("code", "flow", "event", "offset"),
    [
        ("0f22d8", OTHER, "CR3", 0),  # mov cr3, rax
        ("410f22d8", OTHER, "CR3", 0),  # mov cr3, r8
        ("440f22c0", OTHER, "CR8", 0),  # REX.R: not CR0
        ("0f22c0", OTHER, "CR0", 0),
        ("0f20d8", OTHER, None, 0),  # mov rax, cr3
        ("0f30", OTHER, "MSR", 0),
        ("0f0110", OTHER, "GDTR", 0),
        ("0f0118", OTHER, "IDTR", 0),
        ("0f01d0", OTHER, None, 0),  # xgetbv
        ("0f0138", OTHER, TRANSLATION, 0),  # invlpg
        ("0f01f8", OTHER, None, 0),  # swapgs
        ("660f388200", OTHER, TRANSLATION, 0),  # invpcid
        ("0f00d8", OTHER, "TR", 0),
        ("48ff2f", INDIRECT, "far jump", 0),
        ("48cb", RETURN, "far return", 0),
        ("ea000000000800", INDIRECT, "far jump", 0),
        ("e8fbffffff", CALL, None, 0),
        ("ffd0", CALL, None, 0),
        ("41ffd0", CALL, None, 0),
        ("ffe0", INDIRECT, None, 0),
        ("c3", RETURN, None, 0),
        ("f3c3", RETURN, None, 0),
        ("48cf", INTERRUPT_RETURN, None, 0),
        ("ebfe", JUMP, None, -2),
        ("0f84fcffffff", JUMP, None, -4),
        ("750a", JUMP, None, 10),
        ("40", OTHER, None, 0),  # inc eax, no REX
        ("66", OTHER, None, 0),
        ("fff0", OTHER, None, 0),  # push
    ],
)
def test_an_instruction_means_what_the_manual_says(instructions: ctypes.CDLL, code: str, flow: int, event: object, offset: int) -> None:
    data = bytes.fromhex(code)
    found = instructions.instruction_meaning(data, ctypes.c_size_t(len(data)))
    wanted = layout.EVENTS.index(event) if isinstance(event, str) else event or 0
    assert (found.flow, found.event, found.offset) == (flow, wanted, offset)


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    built = tmp_path_factory.mktemp("plugin") / "instruction.so"
    subprocess.run(["cc", "-shared", "-fPIC", SOURCES / "instruction.c", "-o", built], check=True)
    library = ctypes.CDLL(str(built))
    library.instruction_meaning.restype = Meaning
    library.instruction_meaning.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return library
