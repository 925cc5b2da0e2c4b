"""What to look at when a loader is about to switch: where that is, and what its tables say of what it hands over."""

from __future__ import annotations

from collections.abc import Sequence

from cr3scope.diagnose import at_switch
from cr3scope.diagnose.facts.known import known_at_switch
from cr3scope.diagnose.facts.loaded_images import loaded_images
from cr3scope.images.elf_file import ElfFile
from cr3scope.qemu.outcome import Outcome
from cr3scope.qemu.paused_guest import has_gigapages, stopped_cpus
from cr3scope.qemu.qmp import Qmp
from cr3scope.target.switch import switch_at_pc

_MOST_SITES = 16  # a CPU has room for four breakpoints, QEMU's TCG for any number


class SwitchLook:
    """For guests whose kernel is one of ``files``."""

    def __init__(self, files: Sequence[ElfFile]) -> None:
        self._files = files

    def sites(self, qmp: Qmp) -> tuple[int, ...]:
        """Return every `mov cr3` in the images that were loaded from a file system. QmpError if QEMU stops answering."""
        cpu = next(iter(stopped_cpus(qmp)), None)
        images = [image for image in loaded_images(cpu) if image.image.name is not None] if cpu else []
        return tuple(switch.offset for image in images for switch in image.switches())[:_MOST_SITES]

    def look(self, qmp: Qmp, outcome: Outcome) -> None:
        """Leave in ``outcome`` what is wrong with the switch at which a CPU stands."""
        for cpu in stopped_cpus(qmp):
            if cpu.in_long_mode and switch_at_pc(cpu) is not None:
                known = known_at_switch(cpu, self._files)
                if known is not None:
                    outcome.at_switch = at_switch.findings(cpu, known, has_gigapages(qmp))
