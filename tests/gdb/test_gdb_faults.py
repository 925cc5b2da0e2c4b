"""The gdb commands under QEMU: their verdict is the analyzer's on the same boot."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from boot.reference import BUILD, ROOT, boot
from gdb_session import debug

SAFE, UNSAFE = "safe_idt=on", "safe_idt=off"


@pytest.mark.parametrize(
    ("inject", "config", "is_caught"),
    [
        ("identity-missing-trampoline", SAFE, True),
        ("nx-upper-level", SAFE, False),
        ("stack-readonly", SAFE, True),
        ("code-unmapped", SAFE, True),
        ("code-unmapped", UNSAFE, False),
    ],
)
def test_check_and_step_agree_with_the_analyzer(
    inject: str, config: str, is_caught: bool, tmp_path: Path
) -> None:
    analyzed = boot(tmp_path / "analyzed", inject=inject, config=config)
    first = analyzed.verdict["observation"]["first"]
    text = debug(tmp_path / "debugged", "cr3scope step\nx/i $pc\n", inject, config)
    assert f"rule: {analyzed.rules[0]}: " in text, text
    verdict = re.search(r"verdict: faults at .*\(error ([0-9a-f]+):.*CR2=(\S+), RIP=(\S+) ", text)
    assert verdict, text
    assert int(verdict[1], 16) == first["error_code"], text
    for shown, field in ((verdict[2], "cr2"), (verdict[3], "rip")):
        assert int(shown, 16) == int(str(first[field]), 0), (field, text)
    if is_caught:
        caught = text[text.index("caught at the handler") :]
        assert f"(error {first['error_code']:04x}: " in caught, text
        assert f"frame: RIP={verdict[3]} " in caught, text
        assert "<- here" in caught, text
    else:
        ends = analyzed.verdict["observation"]["outcome"]
        assert f"what follows is a {ends}" in text, text
    if inject == "code-unmapped" and not is_caught:
        assert re.search(r"=> \S+ <\S+>:\s+jmp +\*%r11", text.split("cannot run")[1]), text


def test_healthy_boot_survives_and_every_command_answers(tmp_path: Path) -> None:
    saved = tmp_path / "tables.core"
    commands = f"""
cr3scope symbols {BUILD}/kernel/kernel.elf {BUILD}/loader/loader.elf
cr3scope break
cr3scope walk $rsp-8 --access w --new
cr3scope walk 0x123000 --access x
cr3scope maps --new
cr3scope diff
cr3scope handoff sysv
cr3scope save {saved}
cr3scope step
printf "after: cr3 %#lx\\n", $cr3
maintenance packet qqemu.PhyMemMode
"""
    text = debug(tmp_path / "run", commands)
    root = re.search(r"verdict: survives \(mov rax, cr3 loads (0x[0-9a-f]+)\)", text)
    assert root, text
    for words in (
        "loader.elf at 0x", "page, rw--: a supervisor write succeeds", "0x123000 -> 0x123000",
        "ranges differ", "as after a call", f"CR3={root[1]}",
    ):  # fmt: skip
        assert words in text, (words, text)
    assert "kernel.elf at 0x" not in text, "the kernel is no twin of the loader's image"
    assert text.rstrip().split("received: ")[-1].startswith('"0"'), "the stub was left in physical mode"
    listed = subprocess.run(
        [ROOT / "scripts/cr3scope", "maps", saved, "--efer", "0xd00"],
        capture_output=True, text=True, timeout=60,
    )
    assert listed.returncode == 0, listed.stderr
    live = [line for line in text.splitlines() if re.match(r"f{4}[0-9a-f]{12}  f{4}", line)]
    assert live and all(line in listed.stdout for line in live), listed.stdout
