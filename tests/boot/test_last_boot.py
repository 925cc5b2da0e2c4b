"""last=show: what a boot that dies leaves, and the next boot of the same machine tells."""

from __future__ import annotations

import re
import select
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from boot import tpm_wait
from boot.channels import calling
from boot.firmware import boot_from_first_read
from boot.gdb_stub import CALLS, Stub
from boot.reference import BOOT_SECONDS, first_stage
from boot.snapshot import at_loader
from boot.state_file import load, wait_for_event, waiting
from cr3scope.input.photo.reader import read_photos
from cr3scope.qemu.qmp import Qmp
from cr3scope.target.standstill import halts_for_ever
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status

_OFFERED = b"cr3scope: last: cr3scope analyze reads cr3scope.lst, on the boot volume"
_NOTHING = b"cr3scope: last: no boot has left anything that can be read"
_AFTER = b"cr3scope: last: what the last boot with last=show told after its switch:"
# All boots die alike: what one of them has not told of the one before, another does.
_MOST_BOOTS = 5
LOOK_SECONDS = 0.1
# A file takes all at once, however busy the host is: of what waits for a reader the firmware's console and the trace
# give up what is not sent within a second.
_TO_FILE = ("-serial", "file:{}")


def until_halted(qmp: Qmp) -> None:
    """Wait until the machine is halted for ever."""
    end = time.monotonic() + BOOT_SECONDS
    while not halts_for_ever(qmp.registers()):
        assert time.monotonic() < end, "the machine goes on"
        select.select([qmp], [], [], LOOK_SECONDS)
        qmp.events()


def run_until_halted(qmp: Qmp, stub: Stub) -> None:
    """Let a machine that stands run until it is halted for ever, and stop it; its firmware is told that there is no TPM."""
    with ThreadPoolExecutor(1) as beside:
        running = beside.submit(tpm_wait.run_to_stop, stub, BOOT_SECONDS)
        try:
            until_halted(qmp)
        finally:
            qmp.execute("stop")
        running.result()


def kept_of(said: bytes) -> Sequence[bytes]:
    """Return what the next boot tells of one that said this; nothing if not all of that was heard."""
    died = next((line.strip() for line in said.splitlines() if line.startswith(b"cr3scope: exception ")), None)
    mapped = re.search(rb" map name=kernel%20text .* caller=([0-9a-f]+) ", said)
    if died is None or mapped is None:
        return ()
    return (_AFTER, b"cr3scope: last: " + died, b"it is in the range kernel text, mapped by the code before 0x" + mapped[1], _OFFERED)


def test_boot_that_died_is_told_by_the_next_one_of_the_same_machine(tmp_path: Path) -> None:
    run, port = tmp_path / "run", tmp_path / "port.log"
    command, saved = at_loader(run, config="preflight=warn;safe_idt=on;last=show", inject="nx-leaf-code")
    command += [*waiting(saved.state), *(word.format(port) for word in _TO_FILE)]
    with calling(command, ("-qmp", "unix:{}"), CALLS) as (monitor, connection):
        qmp, stub = Qmp(monitor), Stub(connection)
        load(qmp, saved.state)
        run_until_halted(qmp, stub)
        boots = [port.read_bytes()]
        assert _AFTER not in boots[0]
        missing: dict[int, bytes] | None = None  # lines that no boot has told yet, as it should have; None: no death was heard whole
        for _ in range(_MOST_BOOTS):
            qmp.execute("system_reset")
            wait_for_event(qmp, lambda event: event["event"] == "RESET", BOOT_SECONDS, "the machine is not reset")
            run_until_halted(qmp, stub)
            boots.append(port.read_bytes()[sum(map(len, boots)) :])
            told = dict(enumerate(kept_of(boots[-2])))
            if told:
                missing = {number: words for number, words in told.items() if words not in boots[-1] and (missing is None or number in missing)}
            if missing == {}:
                break
        assert missing == {}, boots[-1]
    kept = tmp_path / "cr3scope.lst"
    subprocess.run(["mcopy", "-i", run / "disk.img", "::/cr3scope.lst", kept], check=True, timeout=60)
    verdict = analyze(read_photos([kept]))
    assert verdict.status is Status.FAULTED and verdict.findings[0].rule == "nx-leaf-code"


def test_firmware_that_keeps_nothing_is_told_in_one_line_each_and_the_boot_goes_on(tmp_path: Path) -> None:
    run = boot_from_first_read(tmp_path, config="last=show", FIRST_STAGE=first_stage("nothing_kept"))
    assert (run.status, run.verdict["verdict"]) == (0, "healthy"), run.explain()
    told = [line.strip() for line in run.serial.splitlines() if line.startswith(b"cr3scope: last: ")]
    assert told == [
        _NOTHING,
        b"cr3scope: last: no memory below 0x4000000 is free: nothing is kept of what comes behind the switch",
        b"cr3scope: last: the firmware's variable cannot be written, status 0x8000000000000008",
    ]
