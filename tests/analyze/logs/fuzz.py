"""Random logs against the product: as a program, fuzz.py FIRST COUNT FOLDER."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random

from analyze.logs.cpu import Died
from analyze.logs.guest import invent
from analyze.logs.meaning import RAN, Meaning, Told, event_fields, fatal_fields, finds, forbidden, judge
from analyze.logs.qemu_writer import VERSIONS, Version, pieces

from cr3scope.errors import UnusableInput
from cr3scope.input.logs.logfile import LogFile
from cr3scope.input.logs.report import read_story
from cr3scope.render.json import as_dict
from cr3scope.render.text import render
from cr3scope.verdict.log import judge_log

_FIELDS = ("kind", "vector", "error_code", "cr2", "rip", "cr3", "cpl", "access")


@dataclass(frozen=True)
class Case:
    """One random log."""

    seed: int
    version: Version
    items: str
    text: str
    meaning: Meaning
    ends: str


def make(seed: int) -> Case:
    """Return the log of a seed, and what it means."""
    rng = Random(seed)
    version = rng.choice(VERSIONS)
    tale = invent(rng, version)
    items = rng.choice(("int", "both", "both"))
    if any("then a reset" in boot.ends for boot in tale.boots) or tale.cpus > 1 and len(tale.boots) > 1:
        items = "both"  # nothing else tells of that
    written = list(pieces(tale.told, version, items))
    cut = rng.random()
    if cut < 0.1 and len(written) > 4:
        written = written[rng.randrange(len(written) // 2) :]
    elif cut < 0.25 and len(written) > 4:
        written = written[: rng.randrange(len(written) // 2, len(written)) + 1]
    while written and not version.services and " v=08 " in written[0].text.split("\n")[0]:
        del written[0]  # whether an interrupt or a double fault that lost the line before it, nobody could tell
    if written and items == "int" and isinstance(written[0].what, Died):
        del written[0]  # whether the guest's death or SeaBIOS' own reset, nobody could tell without its registers
    text = "".join(piece.text for piece in written)
    if rng.random() < 0.1:
        text = "".join(f"> {line}\n" for line in text.splitlines())
    if rng.random() < 0.1:
        text = text.replace("\n", "\r\n")
    meaning = judge(tale, written, items, version)
    return Case(seed, version, items, text, meaning, "; ".join(boot.ends for boot in tale.boots))


def differences(case: Case, path: Path) -> list[str]:
    """Return what the product says otherwise than the model meant."""
    path.write_bytes(case.text.encode())
    meaning = case.meaning
    try:
        with LogFile(path) as log:
            verdict = judge_log(read_story(log))
    except UnusableInput as error:
        return [] if not meaning.told else [f"refused: {error}"]
    document, words = as_dict(verdict), render(verdict)
    if not meaning.told:
        return ["HEALTHY of a log without a record"] if document["verdict"] == "healthy" else []
    candidates = [_against(document, words, meaning, told) for told in meaning.told]
    best = min(candidates, key=len)
    return [*best, words] if best else []


def _against(document: dict[str, object], words: str, meaning: Meaning, told: Told) -> list[str]:
    """What differs from one way to understand the log."""
    seen, found, said = document["observation"], [], 0
    assert isinstance(seen, dict)
    if seen["outcome"] != told.outcome:
        found.append(f"outcome {seen['outcome']}, meant {told.outcome}")
    elif told.outcome != RAN:
        fatal = seen["fatal"]
        shown = {name: fatal[name] for name in _FIELDS} if isinstance(fatal, dict) else {}
        right = [fatal_fields(each) for each in told.fatals]
        said = right.index(shown) if shown in right else 0
        if told.fatals and shown not in right:
            found.append(f"fatal {fatal},\n      meant {right}")
        elif told.chain is not None and seen["events"] != event_fields(told):
            found.append("events:\n" + _side_by_side(seen["events"], event_fields(told)))
    if document["verdict"] not in meaning.statuses(told, said):
        found.append(f"status {document['verdict']}, meant {meaning.statuses(told, said)}")
    if meaning.boots is not None and seen["boots"] != meaning.boots:
        found.append(f"boots {seen['boots']}, meant {meaning.boots}")
    found += [f"says what is forbidden: {pattern}" for pattern in forbidden(told, said) if finds(pattern, words)]
    return found


def _side_by_side(seen: list[object], meant: list[dict[str, object]]) -> str:
    lines = [f"      seen  {each}" for each in seen] + [f"      meant {each}" for each in meant]
    return "\n".join(lines)


def run(first: int, count: int, folder: Path, most: int = 20) -> int:
    """Compare ``count`` logs from seed ``first`` on; print what differs; return how many did."""
    wrong = 0
    for seed in range(first, first + count):
        case = make(seed)
        path = folder / f"{seed}.log"
        found = differences(case, path)
        if not found:
            path.unlink()
            continue
        wrong += 1
        if wrong <= most:
            print(f"seed {seed} ({case.version.name}, {case.items}; {case.ends}): {path}")
            print("\n".join(f"   {line}" for line in found))
    return wrong


if __name__ == "__main__":
    target = Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    failed = run(int(sys.argv[1]), int(sys.argv[2]), target)
    print(f"{failed} of {sys.argv[2]} differ")
    sys.exit(failed > 0)
