"""Firmware that looks for a TPM where the machine has none: two waits of 25,000 polls, two fifths of a boot's processor time.

QEMU answers a read where nothing is with zeros, and OVMF of 2022 knows an absent TPM by ones alone (TCG PC Client Platform
TPM Profile 6.3: an access register of FFh): it takes zeros for one that is busy, asks twice and finds none after
the time-out. Here it reads the ones, and finds none at once.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Sequence

from boot.channels import CALL_SECONDS, listening
from boot.gdb_stub import CALLS, QemuLeft, Stub

_ACCESS = 0xFED40000  # the access register of locality 0
_LOADS_AL, _OPERAND = 0x8A, 0xF8  # MOV AL, [a register without a displacement]: what the ModRM byte has to be 0 in
_RAX, _RIP = "0", "10"


def run(command: Sequence[str], seconds: float) -> int:
    """Run a QEMU from the reset to its end, and return its exit status; StateError if that takes longer than ``seconds``."""
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as folder, listening(f"{folder}/stub") as listener:
        listener.settimeout(CALL_SECONDS)
        process = subprocess.Popen([*command, "-S", *(word.format(listener.getsockname()) for word in CALLS)], stdout=subprocess.DEVNULL)
        try:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(QemuLeft):
                run_to_stop(Stub(connection), seconds)
            return process.wait(seconds)
        finally:
            process.kill()
            process.wait()


def run_to_stop(stub: Stub, seconds: float) -> None:
    """Let a machine run that has not begun, until something else than the stub stops it.

    ``seconds``: the longest wait between two stops. Firmware that reads the register by another instruction goes its own way.
    """
    stub.ask("?")
    stub.ask("qXfer:features:read:target.xml:0,1")  # else QEMU takes no single register
    watch = f"3,{_ACCESS:x},1"
    stub.expect_ok(f"Z{watch}")
    while "rwatch" in stub.ask("c", seconds):
        if not _say_absent(stub):
            stub.expect_ok(f"z{watch}")


def _say_absent(stub: Stub) -> bool:
    """Put ones in AL, where the register was read to; False if it was not."""
    behind = int.from_bytes(bytes.fromhex(stub.ask(f"p{_RIP}")), "little")
    read = bytes.fromhex(stub.ask(f"m{behind - 2:x},2"))
    if read[0] != _LOADS_AL or read[1] & _OPERAND:
        return False
    stub.expect_ok(f"P{_RAX}=ff{stub.ask(f'p{_RAX}')[2:]}")
    return True
