"""Records that come by the ten thousand are read many at once, and no otherwise than one by one."""

from __future__ import annotations

import random

import pytest
from trace_writer import Writer, seal

from cr3scope import limits
from cr3scope.input.capture import bulk, reader
from cr3scope.input.capture.records import Capture

PAGE = 4096


def written(count: int = 60) -> Writer:
    """A boot with runs of every kind that may be read at once."""
    writer = Writer()
    writer.put("config", preflight="warn")
    for n in range(count):
        virt = n * PAGE
        writer.put(
            "map", name=f"range {n}", role="data", virt=virt, last=virt + 7, phys=n, rights="rw-", size=1 << 21, type="uc-",
            caller=n,
        )  # fmt: skip
    for n in range(count):
        where: dict[str, int | str | bytes | list[str]] = {"name": f"r\u00e9gion,{n}", "role": "", "virt": n, "last": n + 1}
        writer.put("region", where, **({"phys": n} if n % 3 else {}))
    for n in range(count):
        writer.put("table", phys=n * PAGE, level=n % 5 + 1, parent=n, caller=0)
        writer.put("set", entry=n, level=1, index=n % 512, old=0, new=n, caller=3)
    for n in range(count):
        writer.put("set", entry=n, level=1, index=n % 512, old=0, new=(1 << 64) - 1, caller=3)
    writer.end()
    return writer


def one_by_one(data: bytes, monkeypatch: pytest.MonkeyPatch) -> Capture:
    with monkeypatch.context() as patched:
        patched.setattr(bulk, "run_at", lambda *_: None)
        return reader.read_capture(data)


def test_a_run_is_read_without_looking_at_each_record(monkeypatch: pytest.MonkeyPatch) -> None:
    data, looked_at = written().data, []
    take = reader._Reader._take
    monkeypatch.setattr(reader._Reader, "_take", lambda self, record: (looked_at.append(record.kind), take(self, record)))
    boot = reader.read_capture(data).boots[0]
    assert (len(boot.maps), len(boot.regions), len(boot.tables), len(boot.sets)) == (60, 60, 60, 120)
    assert looked_at == ["begin", "config", "end"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_run_is_read_as_its_records_are(newline: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = b"said before\r\n" + written().data.replace(b"\n", newline)
    read = reader.read_capture(data)
    assert read == one_by_one(data, monkeypatch)
    assert read.boots[0].complete and not read.damage
    assert read.boots[0].maps[9].name == "range 9" and read.boots[0].regions[9].phys is None


WRONG = {
    "map": [
        ("size=200000", "size=200001"), ("rights=rw-", "rights=rwz"), ("type=uc-", "type=xx"), ("last=1d007", "last=1"),
        ("name=range%2029", "name=a=b"), ("name=range%2029", "name=%2"), (" caller=1d", " caller=1d caller=1d"),
        (" caller=1d", ""), (" role=data", " role=data else=1"), ("phys=1d", "phys=01d"), ("phys=1d", "phys=11111111111111111"),
    ],
    "set": [("index=1d", "index=200"), ("level=1", "level=6"), ("entry=1d", "entry=1D")],
    "table": [("level=5", "level=0")],
    "region": [("name=r", "name=%zz"), ("virt=1d", "virt=1f")],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "what", "instead"), [(kind, *pair) for kind, pairs in WRONG.items() for pair in pairs])
def test_what_is_wrong_within_a_run_is_told_as_if_it_stood_alone(
    kind: str, what: str, instead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = written()
    number = next(n for n, line in enumerate(writer.lines) if line.split()[2] == kind.encode() and what in line.decode())
    body = writer.lines[number].decode().rsplit(" #", 1)[0]
    writer.lines[number] = seal(body.replace(what, instead))
    read = reader.read_capture(writer.data)
    assert read == one_by_one(writer.data, monkeypatch)
    assert read.damage or instead.endswith("else=1")


@pytest.mark.slow
def test_any_damage_of_a_run_is_told_as_if_it_were_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    data, chance = written(12).data, random.Random(17)
    lines = data.splitlines(keepends=True)
    for _ in range(100):
        at = chance.randrange(80, len(data))
        odd = bytes([chance.choice(b"\n\r@ #=\x00f0")])
        line = chance.randrange(1, len(lines))
        doubled = b"".join([*lines[:line], lines[line], *lines[line:]])
        lost = b"".join([*lines[:line], *lines[line + 1 :]])
        for damaged in (data[:at] + odd + data[at:], data[:at] + odd + data[at + 1 :], data[:at], doubled, lost):
            assert reader.read_capture(damaged) == one_by_one(damaged, monkeypatch)


def test_a_run_past_its_budget_is_damage_from_there_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(limits.CAPTURE_KINDS, "map", 50)
    data = written().data
    read = reader.read_capture(data)
    assert read == one_by_one(data, monkeypatch)
    assert len(read.boots[0].maps) == 50 and len(read.damage) == 1
