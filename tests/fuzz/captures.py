"""Captures with right checksums, whose records are not what an honest writer writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from analyze import naive_paging
from analyze.trace_writer import text as escaped
from fuzz import wire
from fuzz.noise import damaged, number
from fuzz.small_boots import small_base, small_boot
from fuzz.target import HOSTILE, Case, Find, Target, is_silent, require, verdict_of
from fuzz.wire import Item
from host.format_decoder import FormatError

from cr3scope.input.capture.reader import read_capture
from cr3scope.verdict.analysis import analyze
from cr3scope.verdict.types import Status, Verdict

_TEXTS = {"name", "role", "what", "where", "detail", "producer", "next", "vendor", "of", "file", "sink", "id", "when", "features", "version"}
_FRAME = 0x000F_FFFF_FFFF_F000
_MOST_WALKED = 1 << 16
_PAT_OF_LARGE, _LARGE = 12, 0x80
_TAKES = {1: ("w", 0), 63: ("x", 1)}  # bits that take a right away: which, and by which value
_BOOTED = (wire.REAL, wire.TWO_CPUS)
_SMALL_BOOTS = 1 << 10  # each is kept
_LA57, _NXE, _WP, _SMEP = 1 << 12, 1 << 11, 1 << 16, 1 << 20


def _number_changed(rng: Random, items: list[Item]) -> None:
    item = rng.choice(items)
    keys = [key for key in item.fields if key not in _TEXTS]
    if keys:
        key = rng.choice(keys)
        item.honest.discard(key)
        item.fields[key] = f"{number(rng, item.number(key)):x}"


def _text_changed(rng: Random, items: list[Item]) -> None:
    item = rng.choice(items)
    keys = [key for key in item.fields if key in _TEXTS]
    if keys:
        others = [each.fields[key] for each in items for key in keys if key in each.fields]
        item.fields[rng.choice(keys)] = rng.choice((escaped(rng.choice(HOSTILE)), rng.choice(others), "x" * rng.randrange(300)))


def _field_lost(rng: Random, items: list[Item]) -> None:
    item = rng.choice(items)
    if item.fields:
        del item.fields[rng.choice(list(item.fields))]


def _record_lost(rng: Random, items: list[Item]) -> None:
    if len(items) > 1:
        del items[rng.randrange(len(items))]


def _record_doubled(rng: Random, items: list[Item]) -> None:
    at = rng.randrange(len(items))
    items[at:at] = wire.copied(items[at : at + rng.choice((1, 1, 1, 5))]) * rng.choice((1, 1, 2, 30))


def _records_swapped(rng: Random, items: list[Item]) -> None:
    one, other = rng.randrange(len(items)), rng.randrange(len(items))
    items[one], items[other] = items[other], items[one]


def _stream_damaged(rng: Random, items: list[Item]) -> None:
    carrying = [each for each in items if each.stream]
    if carrying:
        item = rng.choice(carrying)
        item.stream = damaged(rng, item.stream or b"")


def _entries_changed(rng: Random, items: list[Item]) -> None:
    """Entries of a dump that still is one."""
    dump = wire.dumped(items, rng.choice(("new", "new", "new", "after")))
    try:
        tables = wire.tables_of(dump) if dump else {}
    except FormatError:
        return
    if dump is None or not tables:
        return
    for _ in range(rng.choice((1, 1, 2, 8))):
        table = tables[rng.choice(list(tables))]
        used = [index for index, entry in enumerate(table) if entry] or [0]
        index = rng.choice(used) if rng.random() < 0.8 else rng.randrange(512)
        lead = rng.choice(list(tables)) | 3 if rng.random() < 0.3 else number(rng, table[index])
        table[index] = lead
    wire.put_tables(dump, tables)


def _record_made_up(rng: Random, items: list[Item]) -> None:
    made = (
        Item("fault", {"by": "kernel", "vector": f"{number(rng, 14):x}", "error": "2", "cr2": f"{number(rng):x}", "cr3": "1000", "rip": f"{number(rng):x}", "rsp": "0",
                       "rflags": "2", "cs": "8", "ss": "10", **{name: "0" for name in ("rax rbx rcx rdx rsi rdi rbp r8 r9 r10 r11 r12 r13 r14 r15").split()}}),
        Item("error", {"where": "kernel.elf", "what": escaped(rng.choice(HOSTILE))}),
        Item("check", {"name": escaped(rng.choice(HOSTILE)), "outcome": rng.choice(("fail", "pass")), "detail": escaped(rng.choice(HOSTILE))}),
        Item("call", {"what": escaped(rng.choice(HOSTILE))}),
        Item("close", {"sink": escaped(rng.choice(HOSTILE))}),
        Item("exit", {"status": f"{number(rng):x}", "attempts": "1"}),
        Item("region", {"name": "r", "role": rng.choice(("guard", "initrd", "tables", "recursive")), "virt": f"{number(rng):x}", "last": f"{number(rng):x}"}),
        Item("loaded", {"of": "kernel.elf", "index": "0", "differs": f"{number(rng):x}"}),
        Item("set", {"entry": f"{number(rng):x}", "level": "4", "index": "1fe", "old": "0", "new": f"{number(rng):x}", "caller": "1"}),
        Item("unheard-of", {"key": "1"}),
    )
    items.insert(rng.randrange(len(items) + 1), rng.choice(made))


_CHANGES: tuple[Callable[[Random, list[Item]], None], ...] = (
    _number_changed, _number_changed, _number_changed, _text_changed, _field_lost, _record_lost, _record_doubled, _records_swapped,
    _stream_damaged, _entries_changed, _entries_changed, _record_made_up,
)  # fmt: skip


def _make(rng: Random) -> Case:
    how = rng.random()
    items = wire.copied(small_base(rng.randrange(_SMALL_BOOTS)) if how < 0.1 else wire.base(rng.choice(_BOOTED) if how < 0.16 else wire.GOLDEN))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        rng.choice(_CHANGES)(rng, items)
    data = wire.written(items)
    if rng.random() < 0.05:
        data += wire.written(wire.base(wire.GOLDEN))
    return Case(data, ".trace", {"page": rng.random() < 0.02})


def _check(case: Case) -> None:
    verdict, _ = verdict_of(lambda: analyze(read_capture(case.data)), bool(case.meant.get("page")))
    if verdict is not None and verdict.status is Status.HEALTHY:
        require(verdict.prediction is None or verdict.prediction.diverges is None, "HEALTHY, although a step leads astray")
        for why in why_not_healthy(wire.parse(case.data)):
            raise Find(f"HEALTHY, although {why}")


def why_not_healthy(items: list[Item]) -> list[str]:
    """Return what the records say against a clean verdict, by a reading and a page walk of the tests' own."""
    found = [f"{item.kind} {item.fields}" for item in items if _is_bad(item)]
    if sum(item.kind == "begin" for item in items) != 1:
        return found  # the last one's tables are the judge's matter
    try:
        found += _steps_that_fault(items)
    except FormatError:
        found.append("the dump of the new tables cannot be read")
    return found


def _is_bad(item: Item) -> bool:
    return (
        item.kind in ("fault", "error")
        or item.kind == "check" and item.fields.get("outcome") == "fail"
        or item.kind == "summary" and item.number("fail") > 0
        or item.kind == "preflight" and item.fields.get("outcome") == "fault"
    )


def _steps_that_fault(items: list[Item]) -> list[str]:
    if wire.dumped(items, "new") is None or _handoff(items) is None:
        return ["there are no new tables, or no CPU that takes them"]
    return [f"step {number} raises {outcome.vector} at {outcome.cr2}" for number, outcome in _walked(items, tcg=True)]


def _handoff(items: list[Item]) -> Item | None:
    return next((item for item in items if item.kind == "cpu" and item.fields.get("when") == "handoff"), None)


def _walked(items: list[Item], tcg: bool) -> Iterator[tuple[int, naive_paging.Outcome]]:
    """Yield the number of each step of the plan that faults by the tests' own walk, and how."""
    dump, cpu = wire.dumped(items, "new"), _handoff(items)
    assert dump is not None and cpu is not None
    tables = wire.tables_of(dump)
    features = cpu.fields.get("features", "").split(",")
    machine = naive_paging.Machine(
        root=cpu.number("cr3") & _FRAME, levels=5 if cpu.number("cr4") & _LA57 else 4, wp=bool(cpu.number("cr0") & _WP),
        nxe=bool(cpu.number("efer") & _NXE), smep=bool(cpu.number("cr4") & _SMEP), maxphyaddr=cpu.number("maxphyaddr"),
        gigapages="1g" in features, tcg=tcg,
    )  # fmt: skip
    for step in _steps(items):
        if _is_long(step):
            continue
        outcome = naive_paging.access(tables, machine, step.number("virt"), step.fields["kind"], width=step.number("width"))
        if outcome.vector is not None:
            yield step.number("step"), outcome


def _steps(items: list[Item]) -> Iterator[Item]:
    """Yield the accesses of the plan."""
    return (item for item in items if item.kind == "plan" and item.fields.get("kind") in ("fetch", "read", "write"))


def _is_long(step: Item) -> bool:
    """Return whether the tests' own walk, which goes byte by byte, leaves an access out."""
    return step.number("width") > _MOST_WALKED


def _make_twin(rng: Random) -> Case:
    """A healthy boot with one bit of one thing that matters flipped; or one that is whole, of which nothing is to be said."""
    if rng.random() < 0.05:
        return Case(wire.written(small_boot(rng)), ".trace", {"whole": True})
    items = wire.copied(wire.base(rng.choice(_BOOTED)) if rng.random() < 0.1 else small_base(rng.randrange(_SMALL_BOOTS)))
    what = rng.choice(("entry", "map", "cpu", "segment", "check", "wire", "wire", "wire", "field"))
    if what == "wire":
        return Case(_on_the_wire(rng, wire.written(items)), ".trace", {"what": "bytes were damaged on the way"})
    if what == "field":
        return _without_a_field(rng, items)
    if what == "entry":
        return _with_an_entry_flipped(rng, items)
    # Not RSP: the code behind `mov cr3` may load another one, and the plan tells what it then pushes to.
    wanted = {
        "map": ("virt", "last", "phys"), "cpu": ("cr3", "gdt_base", "idt_base", "rip"), "segment": ("virt", "phys"),
        "check": ("outcome",),
    }[what]  # fmt: skip
    item = rng.choice([each for each in items if each.kind == what and each.fields.get("when") != "entry"])
    # A table of which no byte counts may lie anywhere.
    key = rng.choice([key for key in wanted if item.fields.get(key.replace("_base", "_limit")) != "0"])
    old = item.fields[key]
    number = item.number(key)
    # A shorter range, or one that ends in what another call has mapped, asks for nothing that is not there.
    others = [(each.number("virt"), each.number("last")) for each in items if each.kind == what and each is not item] if key == "last" else []
    bits = [
        bit for bit in range(12, 48)
        if key != "last" or not number >> bit & 1 and not any(first <= number | 1 << bit <= last for first, last in others)
    ]  # fmt: skip
    near = [bit for bit in bits if bit < 30]  # more makes a range that is refused in a thousand places: dear, and all alike
    bit = rng.choice(near if near and rng.random() < 0.8 else bits)
    item.fields[key] = "fail" if what == "check" else f"{number ^ 1 << bit:x}"
    return Case(wire.written(items), ".trace", {"what": f"{what} {item.fields.get('name', '')} {key} {old} -> {item.fields[key]}"})


def _with_an_entry_flipped(rng: Random, items: list[Item]) -> Case:
    dump = wire.dumped(items, "new")
    assert dump is not None
    tables = wire.tables_of(dump)
    bit = rng.choice((0, 1, 63, *range(12, 40)))
    phys = rng.choice(list(tables))
    used = [index for index, entry in enumerate(tables[phys]) if entry & 1]
    told = [index for index in used if bit != _PAT_OF_LARGE or not tables[phys][index] & _LARGE]  # the other half of the PAT may be as the first
    if bit in _TAKES:
        # A right that nothing below asks for is taken from nothing; one that a leaf had not been given is told.
        letter, taking = _TAKES[bit]
        asked = _on_the_way_to(letter, items, tables)
        told = [index for index in used if phys + 8 * index in asked or tables[phys][index] >> bit & 1 == taking]
    index, bit = (rng.choice(told), bit) if told else (rng.choice(used), 0)
    tables[phys][index] ^= 1 << bit
    wire.put_tables(dump, tables)
    return Case(wire.written(items), ".trace", {"what": f"bit {bit} of {phys + 8 * index:#x}", "walked": True})


def _on_the_way_to(letter: str, items: list[Item], tables: Mapping[int, list[int]]) -> set[int]:
    """Return the addresses of all entries on the way to a page that was asked for with that right."""
    cpu = _handoff(items)
    assert cpu is not None
    root, levels = cpu.number("cr3") & _FRAME, 5 if cpu.number("cr4") & _LA57 else 4
    asked = [item for item in items if item.kind == "map" and letter in item.fields["rights"]]
    met = set()
    for virt in (virt for item in asked for virt in range(item.number("virt"), item.number("last"), item.number("size"))):
        table = root
        for shift in range(12 + 9 * (levels - 1), 11, -9):
            index = virt >> shift & 511
            met.add(table + 8 * index)
            table = tables.get(table, [0] * 512)[index] & _FRAME
    return met


def _on_the_wire(rng: Random, data: bytes) -> bytes:
    """Damage that no checksum is made right for."""
    lines = data.splitlines(keepends=True)
    at, how = rng.randrange(len(lines)), rng.randrange(7)
    if how == 0:
        lines.insert(at, lines[at])
    elif how == 1:
        del lines[at]
    elif how == 2:
        lines[at : at + 2] = reversed(lines[at : at + 2])
    elif how == 3:
        lines[at] = lines[at][: rng.randrange(1, len(lines[at]))]
    elif how == 4:
        lines[at] = lines[at][:-1] + bytes((rng.choice(b"x #@=,%"),)) * rng.choice((1, 2, 600)) + b"\n"
    elif how == 5:
        return data[: len(data) - rng.randrange(2, len(data))]
    else:
        out = bytearray(data)
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)
    out_of_order = b"".join(lines)
    return out_of_order if out_of_order != data else out_of_order[1:]


def _without_a_field(rng: Random, items: list[Item]) -> Case:
    """A number that is none, in a record of which the plan or its judge has need."""
    item = rng.choice([each for each in items if each.kind in ("cpu", "plan", "map", "segment", "dump", "dump-end", "memory", "memory-end", "mmap", "elf", "table", "set")])
    key = rng.choice([each for each in item.fields if each not in _TEXTS and each != "build_id"])
    wrong = rng.choice(("", "xyz", "-1", "1" * 17, "0x10", "G", "1,2", "%zz"))
    item.honest.discard(key)
    item.fields[key] = wrong
    return Case(wire.written(items), ".trace", {"what": f"{item.kind} {key} = {wrong!r}"})


def _check_twin(case: Case) -> None:
    verdict, words = verdict_of(lambda: analyze(read_capture(case.data)))
    if case.meant.get("whole"):
        require(is_silent(verdict), f"of a healthy boot: {words[:200]}")
        return
    require(not is_silent(verdict), f"HEALTHY without a word, although not as its twin: {case.meant.get('what')}")
    if case.meant.get("walked") and verdict is not None:
        _require_the_walk(wire.parse(case.data), verdict, str(case.meant.get("what")))


def _require_the_walk(items: list[Item], verdict: Verdict, what: str) -> None:
    """Find unless the model foresees what the tests' own walk meets first; where bytes are others before that, or it walks too far for that, it need not."""
    told = verdict.prediction
    require(told is not None, f"nothing is foreseen, of {what}")
    assert told is not None
    if told.diverges is not None and told.first is None or told.number in {step.number("step") for step in _steps(items) if _is_long(step)}:
        return
    mine = None if told.first is None else (told.number, told.first.vector, told.first.error_code, told.first.cr2)
    walked = {next(((number, each.vector, each.error, each.cr2) for number, each in _walked(items, tcg)), None) for tcg in (True, False)}
    require(mine in walked, f"{mine} is foreseen, and {walked} walked, of {what}")


_PARSERS = ("input/capture", "model/asked", "verdict/analysis.py")
CAPTURE = Target("capture", _make, _check, _PARSERS)
TWIN = Target("twin", _make_twin, _check_twin, ("input/capture", "model/asked"))
