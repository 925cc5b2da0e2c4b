"""One release from root to table column: set up, the README's two commands, the flagship fault, versions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from release_matrix import readings
from release_matrix.outcome import FLAGSHIP, RUNS, Outcome, Step
from release_matrix.readings import Verdict
from release_matrix.roots import Root, Runner
from release_matrix.settings import Settings

# Where the tree lies in the root.
_HOME = "root/cr3scope"
# Where this machine emulates the one that emulates the boot's: seconds that a boot may be silent.
_PATIENCE = ("TIMEOUT=900",)


class Release:
    """Take one release through its steps; `say` is told each one as it begins or fails."""

    def __init__(
        self,
        root: Root,
        mirror: str,
        runner: Runner,
        say: Callable[[str], None],
        copy_tree: Callable[[Path], None],
    ) -> None:
        self._root, self._mirror, self._runner, self._copy_tree = root, mirror, runner, copy_tree
        self._tell = say
        self._tree = root.path / _HOME
        self._build = self._tree / "build"
        self._outcome = Outcome(root.name)

    def outcome(self, asked: Settings) -> Outcome:
        """Return what came of it. Only a root that cannot be made ends it early: the rest tells something."""
        began = time.time()
        for run in RUNS:  # of an earlier run
            self._root.log(run).with_suffix(".json").unlink(missing_ok=True)
        if not self._set_up(asked.refresh):
            return self._outcome
        self._outcome.set_up_seconds = time.time() - began
        patience = _PATIENCE if asked.emulated else ()
        self._run_trace(patience)
        self._flagship(patience)
        self._tests(asked)
        self._say("versions")
        self._inside(("sh", "-c", readings.versions_script()), "versions")
        self._outcome.versions = readings.versions(self._root.log("versions").read_text(errors="replace"))
        return self._outcome

    def _set_up(self, refresh: bool) -> bool:
        self._outcome.reused = not refresh and self._root.usable(self._runner)
        if not self._outcome.reused:
            self._say("making the root")
            status = self._root.make(self._runner, self._mirror)
            if status:
                self._end("root", False, f"debootstrap failed ({status})")
                return False
        self._root.configure(self._mirror)
        self._copy_tree(self._tree)
        self._end("root", True, "from before" if self._outcome.reused else "made")
        return True

    def _run_trace(self, patience: tuple[str, ...]) -> None:
        self._say("make run-trace")
        history = self._root.path / "var/log/apt/history.log"
        known = history.stat().st_size if history.exists() else 0
        began = time.time()
        status = self._inside(("make", "run-trace", *patience), "run-trace")
        ended = time.time()
        verdict = self._verdict("last", "run-trace")
        self._end(
            "run-trace",
            status == 0 and verdict.status == "healthy" and verdict.agreed,
            _told(verdict, status),
        )
        unpacking = readings.installing_seconds(history.read_text()[known:]) if history.exists() else 0.0
        download = max(0.0, self._packages_ready("run", began, ended) - began - unpacking)
        self._outcome.set_up_seconds = (self._outcome.set_up_seconds or 0.0) + download
        self._outcome.run_trace_seconds = ended - began - download

    def _flagship(self, patience: tuple[str, ...]) -> None:
        self._say(f"make run-trace INJECT={FLAGSHIP}")
        words = ("make", "run-trace", f"INJECT={FLAGSHIP}", "RUN=build/runs/flagship")
        status = self._inside((*words, *patience), "flagship")
        verdict = self._verdict("flagship", "flagship")
        passed = status != 0 and verdict.status == "faulted" and verdict.agreed and FLAGSHIP in verdict.rules
        self._end("flagship", passed, _told(verdict, status))

    def _tests(self, asked: Settings) -> None:
        self._say(asked.tests_title)
        began = time.time()
        status = self._inside(asked.tests, "tests")
        ended = time.time()
        log = self._root.log("tests").read_text(errors="replace")
        counts = readings.counts(log)
        self._outcome.counts, self._outcome.skips = counts, readings.skips(log)
        if counts is None:
            self._end("tests", False, f"ended before any was run ({status})")
        else:
            passed = status == 0 and counts.failed == 0 and counts.passed > 0
            said = f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped"
            self._end("tests", passed, said if passed or counts.failed else f"{said}; then failed ({status})")
        ready = self._packages_ready("test", began, ended)
        self._outcome.set_up_seconds = (self._outcome.set_up_seconds or 0.0) + ready - began
        self._outcome.tests_seconds = ended - ready

    def _packages_ready(self, group: str, began: float, ended: float) -> float:
        """Return when make had its packages: its stamp's time, or the end if it never had."""
        stamp = self._build / f"deps-{group}.stamp"
        return min(max(stamp.stat().st_mtime, began), ended) if stamp.exists() else ended

    def _verdict(self, run: str, keep_as: str) -> Verdict:
        """Return what a run's verdict says, and keep it beside the logs."""
        file = self._build / "runs" / run / "verdict.json"
        kept = self._root.log(keep_as).with_suffix(".json")
        kept.unlink(missing_ok=True)
        if file.exists():
            shutil.copyfile(file, kept)
        return readings.verdict(kept)

    def _inside(self, words: tuple[str, ...], log: str) -> int:
        return self._root.run(self._runner, words, log, f"/{_HOME}")

    def _say(self, text: str) -> None:
        self._tell(f"{self._root.name}: {text}")

    def _end(self, step: str, passed: bool, said: str) -> None:
        log = self._root.log(step)
        self._outcome.steps[step] = Step(passed, said, log)
        if not passed:
            self._say(f"{step} failed: {said}; see {log}")


def _told(verdict: Verdict, status: int) -> str:
    return str(verdict) if verdict.status else f"no verdict (exit status {status})"
