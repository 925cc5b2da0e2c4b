"""What rules ask of the tables at a switch as a whole, worked out once, and before the first rule where all are asked."""

from __future__ import annotations

from functools import cached_property

from cr3scope.model import matrix
from cr3scope.model.ap_start import ApStart, ap_start
from cr3scope.model.asked.compare import compare
from cr3scope.model.asked.told import Asked, told
from cr3scope.model.granted import granted_by
from cr3scope.model.intent import Intent, Named
from cr3scope.model.matrix import Probe, Refusal
from cr3scope.model.rehearsed import RehearsedStep, rehearsed, unfinished
from cr3scope.paging.reach import Stage, stages
from cr3scope.paging.tables import Tables
from cr3scope.paging.walk import Translation, access
from cr3scope.x86.access import AccessKind
from cr3scope.x86.cpu_state import CpuState
from cr3scope.x86.mode import LONG, PAGED, mode_of
from cr3scope.x86.platform import Platform


class Facts:
    """Facts about the tables behind a switch; each costs nothing before it is asked for.

    ``most``: how many of like things a rule names.
    """

    def __init__(self, tables: Tables, cpu: CpuState, intent: Intent, platform: Platform, most: int) -> None:
        self._tables, self._cpu, self._intent, self._platform, self._most = tables, cpu, intent, platform, most

    def worked_out(self) -> Facts:
        """Return these facts, with all worked out that the rules of this CPU's mode ask for."""
        mode = mode_of(self._cpu)
        if mode in PAGED:
            _ = self.asked, self.stages, self.open_guards
        if mode in LONG:
            _ = self.refused_elsewhere, self.rehearsal, self.is_rehearsal_unfinished, self.ap_start
        return self

    @cached_property
    def asked(self) -> Asked | None:
        """Return how the tables differ from what was asked for; None where there is nothing to compare."""
        comparison = compare(self._tables, self._cpu, self._intent, self._platform)
        return None if comparison is None else told(comparison, self._tables, self._cpu, self._platform, self._most)

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Return every table page that the walk can reach, level by level."""
        return tuple(stages(self._tables, self._cpu))

    @cached_property
    def open_guards(self) -> tuple[tuple[Named, Translation], ...]:
        """Return the guard pages that are mapped, each with the first part of it that can be read."""
        guards = [region for region in self._intent.regions if region.role == "guard"]
        found = ((guard, self._first_read(guard)) for guard in guards)
        return tuple((guard, where) for guard, where in found if where is not None)

    def _first_read(self, guard: Named) -> Translation | None:
        for virt in granted_by(self._tables, self._cpu, self._platform).mapped(guard.virt, guard.last):
            found = access(self._tables, self._cpu, virt, AccessKind.READ, platform=self._platform)
            if isinstance(found, Translation):
                return found
        return None

    @cached_property
    def _probes(self) -> tuple[Probe, ...]:
        plan = sorted(self._intent.boot.plan, key=lambda step: step.step)
        return tuple(matrix.probes(self._tables, self._cpu, plan, self._intent))

    @cached_property
    def refused_elsewhere(self) -> tuple[Refusal, ...]:
        """Return what this boot's CPU grants and others refuse, whichever CPUs the boot has (``matrix.ANYWHERE``)."""
        return tuple(matrix.judge(self._tables, self._cpu, self._probes, matrix.ANYWHERE))

    @cached_property
    def refused_without_nxe(self) -> tuple[Refusal, ...]:
        """Return what an AP refuses that has not set EFER.NXE."""
        return tuple(matrix.judge(self._tables, self._cpu, self._probes, (matrix.NXE_CLEAR,)))

    @cached_property
    def rehearsal(self) -> tuple[RehearsedStep, ...]:
        """Return the steps of the plan that were rehearsed, in the order of the records."""
        return tuple(rehearsed(self._intent.boot, self._tables, self._cpu, self._platform))

    @cached_property
    def is_rehearsal_unfinished(self) -> bool:
        """Return whether a rehearsal began of which nothing tells that it ended."""
        return unfinished(self._intent.boot)

    @cached_property
    def ap_start(self) -> ApStart | None:
        """Return the way of the other CPUs; None where the trace does not tell it."""
        return ap_start(self._intent.boot, self._cpu)
