"""The table of releases, in Markdown with even columns: for the terminal and for docs/releases.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from release_matrix.outcome import FLAGSHIP, STEPS, VERDICTS, Outcome
from release_matrix.readings import TOOLS

_NOTHING = "-"


def render(outcomes: Sequence[Outcome], tests: str) -> str:
    """Return the table, a column for each release; below it why tests were skipped. `tests`: what was run as such."""
    rows = [["", *(outcome.name for outcome in outcomes)]]

    def row(title: str, cell: Callable[[Outcome], str]) -> None:
        rows.append([title, *(cell(outcome) for outcome in outcomes)])

    for tool in TOOLS:
        row(tool, lambda outcome: outcome.versions.get(tool, _NOTHING))
    for step, title in (
        ("run-trace", "make run-trace"),
        ("flagship", f"make run-trace INJECT={FLAGSHIP}"),
        (VERDICTS, "verdict.json"),
        ("tests", tests),
    ):
        row(f"`{title}`", lambda outcome: outcome.steps[step].said if step in outcome.steps else _NOTHING)
    row(
        "seconds: root, downloads and the tests' packages",
        lambda outcome: _seconds(outcome.set_up_seconds) + (" (root from before)" if outcome.reused else ""),
    )
    row(
        "seconds: first `make run-trace`, besides the download",
        lambda outcome: _seconds(outcome.run_trace_seconds),
    )
    row(f"seconds: `{tests}`", lambda outcome: _seconds(outcome.tests_seconds))
    text = _markdown(rows)
    reasons = [
        f"- {outcome.name}: {skip.count} at `{skip.place}`: {skip.reason}"
        for outcome in outcomes
        for skip in outcome.skips
    ]
    return "\n".join([text, *(["", "Skipped:", "", *reasons] if reasons else [])]) + "\n"


def failures(outcomes: Sequence[Outcome], last_lines: int = 20) -> str:
    """Return each failed step with its log's path and last lines; empty if there is none."""
    told = []
    for outcome in outcomes:
        for name in (*STEPS, VERDICTS):
            step = outcome.steps.get(name)
            if step is None or step.passed:
                continue
            told.append(f"{outcome.name}: {name} failed; the end of {step.log}:")
            lines = step.log.read_text(errors="replace").splitlines() if step.log.exists() else []
            told += [f"    {line}" for line in lines[-last_lines:]]
    return "".join(f"{line}\n" for line in told)


def _seconds(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.0f}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])
