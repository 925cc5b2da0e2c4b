"""`make test-faults`: boots every row of the fault table in every form and prints what came of it.

Exits 1 if a row fails; each failure is told in a line below the table. Progress goes to a terminal only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from boot.fault_rows import FORMS, Judged, Row, boot_row, rows
from boot.snapshot import boot_from_snapshot

FORMAT = "{:32} {:9} {:5} {:21} {:21} {}"
HEADINGS = ("fault", "form", "named", "predicted", "observed", "agree")
HANG_FIRST = {"hang": 0}


def main() -> int:
    """Boots, prints the table, and returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the runs of failed rows in DIR")
    parser.add_argument(
        "--only", metavar="TEXT", default="", help="rows with TEXT in what inject= takes"
    )
    parser.add_argument("--form", choices=FORMS, action="append", help="(default: every form)")
    arguments = parser.parse_args()
    chosen = [
        (row, form)
        for row in rows()
        for form in arguments.form or FORMS
        if arguments.only in row.inject
    ]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="cr3scope-") as work:
        boot_from_snapshot(Path(work) / "first")  # the workers then find the snapshot taken
        judged = _boot_all(chosen, Path(work), arguments.workers, arguments.keep)
    _print(judged, time.monotonic() - began)
    return int(any(one.failures for one in judged))


def _boot_all(
    chosen: Sequence[tuple[Row, str]], work: Path, workers: int, keep: Path | None
) -> list[Judged]:
    """In the order of the table, though what takes long starts first."""
    results: dict[int, Judged] = {}
    order = sorted(range(len(chosen)), key=lambda n: HANG_FIRST.get(chosen[n][0].shows, 1))
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(_one, work / str(n), *chosen[n], keep) for n in order]
        for done, (n, future) in enumerate(zip(order, futures, strict=True), 1):
            results[n] = future.result()
            if sys.stderr.isatty():
                print(f"\r{done} of {len(order)}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return [results[n] for n in range(len(chosen))]


def _one(folder: Path, row: Row, form: str, keep: Path | None) -> Judged:
    """Whatever goes wrong is a failure of this row, not the end of the table."""
    try:
        judged = boot_row(folder, row, form)
    except Exception as error:  # a timeout, a run that left no verdict, a configuration not read
        why = f"{type(error).__name__}: {error}".split("\n")[0]
        judged = Judged(row, form, "no", "-", "-", None, (why,))
    if judged.failures and keep is not None:
        name = f"{row.inject}-{form}".replace(":", "-").replace("/", "-")
        shutil.copytree(folder, keep / name, dirs_exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    return judged


def _print(judged: Sequence[Judged], seconds: float) -> None:
    print(FORMAT.format(*HEADINGS))
    for one in judged:
        agreement = {True: "yes", False: "no", None: "-"}[one.agreement]
        mark = " BAD" if one.failures else ""
        cells = (one.row.inject, one.form, one.named, one.predicted, one.observed, agreement)
        print(FORMAT.format(*cells) + mark)
    failed = [one for one in judged if one.failures]
    if failed:
        print()
    for one in failed:
        print(f"{one.row.inject} ({one.form}): {'; '.join(one.failures)}")
    each = seconds / max(len(judged), 1)
    print(
        f"\n{len(judged)} boots, {len(failed)} failed, {seconds:.0f} s"
        f" ({each:.2f} s for each on two cores)"
    )


if __name__ == "__main__":
    sys.exit(main())
