"""The gdb commands under QEMU: their verdict is the analyzer's on the same boot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from boot.fault_rows import AFTERMATH, FORMS
from boot.reference import BUILD
from boot.shared_run import shared_run
from boot.verbs import cr3scope
from gdb_session import at_switch, unwrapped

from cr3scope.x86.exceptions import name

SAFE, UNSAFE = "safe_idt=on", FORMS["kept"]  # a rehearsal would be stopped in
CAUGHT = "caught #"
BEFORE = "no handler can be entered: stopped before the fault"


@pytest.mark.parametrize(
    ("inject", "config", "comes"),
    [
        ("identity-missing-trampoline", SAFE, CAUGHT),
        pytest.param("nx-upper-level", SAFE, CAUGHT, marks=pytest.mark.quick),  # a handler that is entered and cannot be fetched
        ("nx-upper-level:kernel", UNSAFE, BEFORE),
        ("nx-leaf-code:entry", SAFE, CAUGHT),
        ("stack-readonly", SAFE, CAUGHT),
        ("stack-unmapped", SAFE, CAUGHT),
        ("upper-level-readonly", SAFE, CAUGHT),
        ("code-unmapped", SAFE, CAUGHT),
        ("code-unmapped", UNSAFE, BEFORE),
        ("reserved-bits:trampoline", SAFE, CAUGHT),
        ("virt-address-in-entry", SAFE, CAUGHT),
        ("nx-without-nxe", UNSAFE, BEFORE),
        ("la57-mismatch", SAFE, BEFORE),
        ("non-canonical:entry", SAFE, CAUGHT),
    ],
)
def test_check_and_step_agree_with_the_analyzer(
    inject: str, config: str, comes: str, tmp_path: Path
) -> None:
    analyzed = shared_run(inject=inject, config=FORMS["safe"] if config == SAFE else config)
    observed = analyzed.verdict["observation"]
    first = observed["first"]
    saved = tmp_path / "saved.core"
    text = at_switch(tmp_path / "debugged", f"cr3scope save {saved}\ncr3scope step\nx/i $pc\n", inject, config)
    lines = unwrapped(text)
    assert f"rule: {analyzed.rules[0]}: " in lines, text
    said = re.search(r"^verdict: faults at .*?: (#\w+) \(error ([0-9a-f]+)[:)].*?RIP=(\S+) ", lines, re.M)
    assert said, text
    vector, error, rip = said[1], int(said[2], 16), int(said[3], 16)
    assert (vector, error) == (name(first["vector"]), first["error_code"]), text
    assert rip == int(first["rip"], 0), text
    cr2 = re.search(r"CR2=(0x[0-9a-f]+)", said[0])
    assert (cr2 and int(cr2[1], 16)) == (first["cr2"] and int(first["cr2"], 0)), text
    assert comes in lines, text
    if comes is CAUGHT:
        caught = lines[lines.index(CAUGHT) :]
        assert f"{vector} (error {error:04x}" in caught, text
        assert f"frame: RIP={rip:#x} " in caught, text
        assert vector != "#PF" or "<- here" in caught, text
    if observed["outcome"] != "handled":
        assert f"what follows is a {observed['outcome']}" in lines, text
    again = verdict_of(saved)
    # With all that would break next: the trace is in the core.
    assert errors(again) == errors(analyzed.verdict), again
    prediction = again["prediction"]
    assert {name: prediction[name] for name in ("vector", "error_code", "cr2", "rip")} == {
        name: first[name] for name in ("vector", "error_code", "cr2", "rip")
    }
    assert prediction["ends"] == observed["outcome"], (prediction, observed)
    if inject == "code-unmapped" and comes is BEFORE:
        assert re.search(r"=> \S+ <\S+>:\s+jmp +\*%r11", text.split("stopped before")[1]), text


def errors(verdict: dict[str, Any]) -> list[Any]:
    """What is wrong with the switch itself: rule and entry of each error, in order."""
    return [(one["rule"], one["entry"]) for one in verdict["findings"]
            if one["severity"] == "error" and one["rule"] not in AFTERMATH]  # fmt: skip


def verdict_of(core: Path) -> dict[str, Any]:
    """`analyze` of what `save` wrote at the switch."""
    done = cr3scope("analyze", core, "--json", "-")
    assert done.returncode == 1, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["verdict"] == "will-fault", found
    return found


def test_a_refused_switch_is_named_and_not_stepped(tmp_path: Path) -> None:
    analyzed = shared_run(inject="cr3-high-bits", config=UNSAFE)
    lines = unwrapped(at_switch(tmp_path / "debugged", "cr3scope step\n", "cr3-high-bits", UNSAFE))
    assert f"rule: {analyzed.rules[0]}: " in lines, lines
    assert f"ends: {analyzed.verdict['observation']['outcome']}" in lines, lines
    assert "not stepped: the switch itself is refused" in lines, lines


# What QEMU writes to a file is what its stub reads.
BY_BOTH_WAYS = """python
from cr3scope_commands import target
root = int(gdb.parse_and_eval("$cr3")) & -4096
saved = target.SavedMemory(target.Monitor()).page(root)
with target.physical_mode():
    print("by both ways:", saved is not None and saved == target.read_physical(root, 4096))
end
"""
# What one command has read of the RAM is good for the next one, until the guest has gone on: even to the same registers.
READ_ONCE = """python
PUSHED = 0x8ff8  # in RAM that nobody uses by then
def read():
    return target.stop().physical(PUSHED, 8)
gdb.selected_inferior().write_memory(PUSHED, bytes([255] * 8))
asked, monitor = [], target.Monitor.monitor
target.Monitor.monitor = lambda self, command: asked.append(command) or monitor(self, command)
before = read(), read()
print("read", sum(command.startswith("pmemsave") for command in asked), "times")
target.Monitor.monitor = monitor
was = {name: int(gdb.parse_and_eval(f"(unsigned long) {name}")) for name in ("$rip", "$rsp")}
gdb.execute(f"set $rsp = {PUSHED + 8}")
gdb.execute("set $rip = (unsigned long) &switch_stack_write")
gdb.execute("stepi", to_string=True)
for name, value in was.items():
    gdb.execute(f"set {name} = {value}")
after = read()
import pathlib, tempfile
with tempfile.TemporaryDirectory() as folder:  # gdb tells nobody that this one writes
    file = pathlib.Path(folder, "bytes")
    file.write_bytes(bytes([170] * 8))
    gdb.execute(f"restore {file} binary {PUSHED:#x}", to_string=True)
print("pushed:", [piece.hex() for piece in (*before, after, read())])
end
"""


def test_healthy_boot_survives_and_every_command_answers(tmp_path: Path) -> None:
    saved = tmp_path / "tables.core"
    commands = f"""
cr3scope symbols {BUILD}/loader/loader.elf
cr3scope break
cr3scope walk $rsp-8 --access w --new
cr3scope walk 0x123000 --access x
cr3scope maps --new
cr3scope diff
cr3scope handoff sysv
{BY_BOTH_WAYS}{READ_ONCE}cr3scope save {saved}
cr3scope step --entry
printf "after: cr3 %#lx\\n", $cr3
maintenance packet qqemu.PhyMemMode
"""
    text = at_switch(tmp_path / "run", commands)
    root = re.search(r"verdict: survives \d+ instructions \(mov cr3, r10 loads (0x[0-9a-f]+)\)", text)
    assert root, text
    for words in (
        "loader.elf at 0x", "page, rw--: a supervisor write succeeds", "0x123000 -> 0x123000",
        "ranges differ", "as a call leaves it", f"CR3={root[1]}", "and no exception has come", "by both ways: True",
        "read 1 times", f"pushed: {['ff' * 8, 'ff' * 8, '00' * 8, 'aa' * 8]}",
    ):  # fmt: skip
        assert words in text, (words, text)
    assert text.rstrip().split("received: ")[-1].startswith('"0"'), "the stub was left in physical mode"
    listed = cr3scope("maps", saved)
    assert listed.returncode == 0, listed.stderr
    live = [line for line in text.splitlines() if re.match(r"f{4}[0-9a-f]{12}  f{4}", line)]
    assert live and all(line in listed.stdout for line in live), listed.stdout
