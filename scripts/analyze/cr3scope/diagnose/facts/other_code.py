"""Whether the instruction behind a change of the tables is the one that lay there before it."""

from __future__ import annotations

from dataclasses import replace

from cr3scope.diagnose.catalogue import BY_ID
from cr3scope.diagnose.finding import Finding
from cr3scope.message import Hex, message
from cr3scope.model.code_prediction import CodePrediction
from cr3scope.model.role import Role
from cr3scope.paging.walk import walk
from cr3scope.target.stopped_cpu import StoppedCpu
from cr3scope.x86.decode.instruction import LONGEST, can_decode, decode
from cr3scope.x86.names import covered


def other_code(now: StoppedCpu, seen: CodePrediction) -> Finding | None:
    """Return the finding that the tables which the instruction at the PC loads lead from the next one's address to another frame,
    in which another instruction lies. None where either space does not map it, or memory is not there; and of a copy of the code.

    The CPU fetches what is there, and raises nothing (Intel SDM volume 3A, 5.5.4: the address in a leaf).
    """
    behind = seen.start
    if behind is None or behind == now.cpu or not seen.steps or seen.steps[0].role is not Role.NEXT_FETCH:
        return None
    virt = seen.steps[0].virt
    meant, led = walk(now, now.cpu, virt, now.platform), walk(now, behind, virt, now.platform)
    if meant.phys is None or led.phys is None or led.phys == meant.phys or not led.entries:
        return None
    old, new = now.bytes_at(virt, LONGEST), now.with_state(behind).bytes_at(virt, LONGEST)
    one = decode(old, virt, now.code_bits) if can_decode() else None
    size = one.size if one is not None else LONGEST
    if len(old) < size or len(new) < size or old[:size] == new[:size]:
        return None
    found = BY_ID["wrong-frame"].finding(
        message("{entry} leads {virt} to {phys}, and the code that goes on there lies at {meant}", entry=led.leaf, virt=Hex(virt), phys=Hex(led.phys),
                meant=Hex(meant.phys)),
        message("before the switch {virt} holds {old}, behind it {new}", virt=Hex(virt), old=old[:size], new=new[:size]),
    )  # fmt: skip
    return replace(found, entry=led.leaf, range=covered(led.leaf, virt))
