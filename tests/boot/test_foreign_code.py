"""`cr3scope run --elf` on loaders without our trace: whose code it was, who called it, and whether it was
still the code of the file.
"""

from __future__ import annotations

from pathlib import Path

from boot.guest import watch
from boot.reference import Run, make
from boot.test_foreign_loaders import SECONDS, errors, program


def boot(folder: Path, name: str) -> Run:
    """With the loader's own ELF file, of which nobody says where it was loaded."""
    return watch(folder, program(name), SECONDS, elf=[make(f"foreign/{name}.elf")])


def places(run: Run, name: str) -> list[dict[str, str | None]]:
    return [p for p in run.verdict["observation"]["places"] if p["name"] == name]


def test_the_line_that_died_and_its_callers_are_named_without_a_base(tmp_path: Path) -> None:
    run = boot(tmp_path, "gives_up")
    [died] = places(run, "RIP")
    assert died["symbol"] is not None and died["symbol"].startswith("check"), run.explain()
    assert died["source"] is not None and died["source"].endswith("gives_up.c:6"), run.explain()
    assert died["image"] is not None and died["image"].startswith("BOOTX64.EFI+0x"), run.explain()
    callers = [(place["symbol"], place["source"]) for place in places(run, "stack")]
    assert [str(symbol).split("+")[0].split(".")[0] for symbol, _ in callers[:2]] == ["set_up", "efi_main"]
    assert [str(source)[-13:] for _, source in callers[:2]] == ["gives_up.c:12", "gives_up.c:20"]
    assert "BOOTX64.EFI" in (tmp_path / "machine.txt").read_text(), "the list of images"


def test_a_death_under_the_firmwares_own_tables_is_said_to_be_one(tmp_path: Path) -> None:
    run = boot(tmp_path, "dies_before_switch")
    assert "nobody has switched yet" in run.verdict["observation"]["detail"], run.explain()
    caller = places(run, "stack")[0]
    assert str(caller["symbol"]).startswith("efi_main"), run.explain()
    assert str(caller["source"]).endswith("dies_before_switch.c:9"), run.explain()
    assert "nobody has switched yet" not in boot(tmp_path, "gives_up").text


def test_an_image_without_a_file_is_named_with_the_offset_in_it(tmp_path: Path) -> None:
    run = watch(tmp_path, program("gives_up"), SECONDS)
    [died] = places(run, "RIP")
    assert (died["symbol"], died["source"]) == (None, None), run.explain()
    assert str(died["image"]).startswith("BOOTX64.EFI+0x"), run.explain()
    assert f"is {died['image']}" in run.text


def test_of_a_guest_that_hangs_the_loop_is_named_and_who_called_it(tmp_path: Path) -> None:
    run = boot(tmp_path, "tight_loop_called")
    assert run.verdict["verdict"] == "hung", run.explain()
    [found] = places(run, "RIP")
    assert str(found["symbol"]).startswith("wait_for"), run.explain()
    assert str(places(run, "stack")[0]["symbol"]).startswith("efi_main"), run.explain()
    assert f"code  RIP={found['address']} is {found['symbol']}" in run.text


def test_code_that_was_overwritten_is_told_apart_from_code_that_is_wrong(tmp_path: Path) -> None:
    run = boot(tmp_path, "wipes_itself")
    assert (run.status, run.verdict["verdict"]) == (1, "faulted"), run.explain()
    found = errors(run)[0]
    assert found["rule"] == "code-overwritten", run.explain()
    assert "with bytes 00h" in str(found["title"]), run.explain()
    assert places(run, "RIP")[0]["symbol"] is not None, run.explain()
    assert str(places(run, "stack")[0]["symbol"]).startswith("efi_main"), run.explain()


def test_code_that_was_overwritten_is_the_cause_also_of_a_hang(tmp_path: Path) -> None:
    run = boot(tmp_path, "wipes_itself_spins")
    assert (run.status, run.verdict["verdict"]) == (1, "hung"), run.explain()
    assert errors(run)[0]["rule"] == "code-overwritten", run.explain()
    assert str(places(run, "stack")[0]["symbol"]).startswith("efi_main"), run.explain()


def test_code_that_was_not_overwritten_is_silent(tmp_path: Path) -> None:
    for name in ("wipes_itself.mended", "gives_up.mended"):
        run = watch(tmp_path, program(name), SECONDS, elf=[make(f"foreign/{name}.elf")])
        assert (run.status, errors(run)) == (0, []), run.explain()
    run = boot(tmp_path, "gives_up")
    assert [f["rule"] for f in errors(run)] == ["instruction-refused"], run.explain()


def test_an_elf_file_of_another_loader_names_nothing(tmp_path: Path) -> None:
    other = make("foreign/tight_loop.mended.elf")
    run = watch(tmp_path, program("gives_up"), SECONDS, elf=[other])
    assert places(run, "RIP")[0]["symbol"] is None, run.explain()
    assert any("nothing tells where it was loaded" in d["message"] for d in run.verdict["diagnostics"])
