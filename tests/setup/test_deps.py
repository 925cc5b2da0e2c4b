"""scripts/boot/deps with made-up package managers: what it asks for, when it installs, what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from boot.reference import ROOT
from setup.fake_machine import RUN_COMMANDS, FakeMachine

MANAGERS = ("apt-get", "dnf", "pacman", "apk", "zypper", "brew")
# Where mtools, cpio and QEMU are missing: the words after sudo, those of Debian's aside.
LINES = {
    "dnf": "dnf install -y --setopt=install_weak_deps=False qemu-system-x86-core mtools cpio",
    "pacman": "pacman -S --needed --noconfirm qemu-system-x86 mtools cpio",
    "apk": "apk add --update-cache qemu-system-x86_64 mtools cpio",
    "zypper": "zypper --non-interactive install --no-recommends qemu-x86 mtools cpio",
    "brew": "brew install qemu mtools cpio",
}
MISSING = ("qemu-system-x86_64", "mcopy", "cpio")


def machine(folder: Path, user: int = 0, missing: tuple[str, ...] = MISSING) -> FakeMachine:
    made = FakeMachine(folder, user=user)
    for command in RUN_COMMANDS:
        if command not in missing:
            made.add(command)
    return made


@pytest.mark.parametrize("manager", [name for name in LINES if name != "brew"])
def test_without_rights_it_prints_the_one_line(manager: str, tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000)
    here.add_manager(manager)
    here.add("sudo", "exit 1")
    done = here.deps("run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"deps: run this once, then try again: sudo {LINES[manager]}"
    assert here.calls == []


@pytest.mark.parametrize("manager", list(LINES))
def test_root_installs_and_looks_again(manager: str, tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.add_manager(manager, here.installing(*MISSING))
    done = here.deps("run")
    assert (done.returncode, here.calls) == (0, [LINES[manager]]), done.stderr


def test_brew_installs_as_the_user_that_asks(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000)
    here.add_manager("brew", here.installing(*MISSING))
    done = here.deps("run")
    assert (done.returncode, here.calls) == (0, [LINES["brew"]]), done.stderr


def test_sudo_without_a_password_installs(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000)
    here.add_manager("apk", here.installing(*MISSING))
    here.add("sudo", 'shift; exec "$@"')
    done = here.deps("run")
    assert (done.returncode, here.calls) == (0, [LINES["apk"]]), done.stderr


def test_a_package_that_does_not_bring_its_command_is_told(tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.add_manager("dnf", here.installing("qemu-system-x86_64", "cpio"))
    done = here.deps("run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "deps: installed, and still not to be found, as if missing: mtools (docs/running.md, Packages)"
    )


def test_a_manager_that_fails_is_told_with_its_words(tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.add_manager("zypper", "echo no such package: mtools; exit 104")
    done = here.deps("run")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "no such package: mtools",
        f"deps: zypper failed (above); by hand: {LINES['zypper']}",
    ]


def test_a_python_module_that_cannot_be_imported_is_missing(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000, missing=())
    here.add_manager("pacman")
    here.add("python3", 'case $* in *"import jinja2"*) exit 1 ;; esac')
    done = here.deps("run")
    assert done.stderr.splitlines()[-1].endswith("--noconfirm python-jinja")


def test_what_no_package_holds_is_told_once_the_rest_is_installed(tmp_path: Path) -> None:
    here = machine(tmp_path)
    here.add_manager("brew", here.installing(*MISSING))
    done = here.deps("run", GNU_EFI_LIB="/nowhere")
    assert done.returncode == 2
    assert here.calls == [LINES["brew"]]
    assert done.stderr.splitlines()[-1] == (
        "deps: no package of brew holds: gnu-efi; install by hand (docs/running.md, Packages)"
    )


def test_a_layout_that_the_finder_does_not_know_asks_for_pkg_config_too(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000, missing=())
    here.add_manager("zypper")
    done = here.deps("run", GNU_EFI_LIB="/nowhere")
    assert done.stderr.splitlines()[-1].endswith("--no-recommends gnu-efi pkgconf")


@pytest.mark.parametrize("manager", [*LINES, "none at all"])
def test_a_machine_that_has_everything_is_not_touched(manager: str, tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000, missing=())
    here.add_manager(manager)
    done = here.deps("run")
    assert (done.returncode, done.stderr, here.calls) == (0, "", [])


def test_without_any_manager_it_says_what_is_missing(tmp_path: Path) -> None:
    done = machine(tmp_path, missing=("mcopy",)).deps("run")
    assert done.returncode == 2
    assert done.stderr == (
        "deps: none of apt-get dnf pacman apk zypper brew is on this machine, and this is missing: mcopy\n"
    )


def test_a_manager_can_be_chosen(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000)
    here.add_manager("apt-get")
    here.add_manager("dnf")
    done = here.deps("run", PACKAGE_MANAGER="dnf")
    assert LINES["dnf"] in done.stderr


@pytest.mark.parametrize(("settings", "said"), [
    ({"PACKAGE_MANAGER": "emerge"}, "deps: PACKAGE_MANAGER=emerge: one of apt-get dnf pacman apk zypper brew\n"),
    ({"PACKAGE_MANAGER": "apk"}, "deps: PACKAGE_MANAGER=apk: no such command\n"),
])  # fmt: skip
def test_a_wrong_choice_is_one_line(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    done = machine(tmp_path).deps("run", **settings)
    assert (done.returncode, done.stderr) == (2, said)


def test_an_unknown_group_is_one_line(tmp_path: Path) -> None:
    done = machine(tmp_path).deps("everything")
    assert (done.returncode, done.stderr) == (2, "deps: unknown group 'everything': run, test, fuzz, releases, browser or deb\n")


def test_debian_is_asked_for_packages_and_not_for_commands(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000, missing=())
    here.add_manager("apt-get")
    here.add("dpkg-query", 'case $* in *" mtools") exit 1 ;; esac; echo "install ok installed"')
    done = here.deps("test")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "deps: run this once, then try again: sudo apt-get install -y --no-install-recommends mtools"
    )


def test_debian_reads_its_index_before_it_installs(tmp_path: Path) -> None:
    here = machine(tmp_path)
    installed = tmp_path / "installed"
    here.add_manager("apt-get", f'[ "$1" = update ] || touch {installed}')
    here.add(
        "dpkg-query",
        f'[ -e {installed} ] || case $* in *" mtools") exit 1 ;; esac; echo "install ok installed"',
    )
    done = here.deps("run")
    assert done.returncode == 0, done.stderr
    assert here.calls == ["apt-get update", "apt-get install -y --no-install-recommends mtools"]


@pytest.mark.parametrize("candidate", ["(none)", "2025.02-8"])
def test_debian_is_asked_for_what_is_optional_only_where_its_index_has_it(candidate: str, tmp_path: Path) -> None:
    here = machine(tmp_path, missing=())
    installed, updated = tmp_path / "installed", tmp_path / "updated"
    here.add_manager("apt-get", f'[ "$1" = update ] && touch {updated} || touch {installed}')
    here.add("apt-cache", f'[ ! -e {updated} ] || echo "  Candidate: {candidate}"')  # an index that was never read has none
    here.add(
        "dpkg-query",
        f'[ -e {installed} ] || case $* in *" mtools"|*" ovmf-ia32") exit 1 ;; esac; echo "install ok installed"',
    )
    done = here.deps("test")
    assert done.returncode == 0, done.stderr
    asked = here.calls[-1].removeprefix("apt-get install -y --no-install-recommends ").split()
    assert asked == ["mtools"] + ["ovmf-ia32"] * (candidate != "(none)")
    assert ("ovmf-ia32" in done.stderr.splitlines()[0]) is False


def test_debian_elsewhere_takes_the_target_s_packages_and_a_cross_compiler(tmp_path: Path) -> None:
    for name, kind, user in (("here", "x86_64", 1000), ("there", "aarch64", 0)):
        here = FakeMachine(tmp_path / name, user=user, machine=kind)
        here.add_manager("apt-get", "exit 100")
        here.add_manager("dpkg")
        here.add("dpkg-query", "exit 1")
        asked = set(here.deps("test").stderr.splitlines()[-1].split("recommends ")[1].split())
        target = {"gnu-efi", "grub-efi-amd64-bin", "memtest86+", "linux-image-cloud-amd64"}
        if kind == "x86_64":
            assert target < asked
            assert not any(":amd64" in package or "x86-64" in package for package in asked)
        else:
            assert {f"{package}:amd64" for package in target} | {
                "gcc",
                "gcc-x86-64-linux-gnu",
                "binutils-x86-64-linux-gnu",
            } < asked
            assert here.calls == ["dpkg --add-architecture amd64", "apt-get update"]


def test_the_tool_that_makes_roots_has_a_group_of_its_own(tmp_path: Path) -> None:
    here = machine(tmp_path, user=1000)
    here.add_manager("dnf")
    done = here.deps("releases")
    assert done.stderr.splitlines()[-1].endswith("install_weak_deps=False debootstrap")


def test_the_list_has_a_cell_for_every_manager_and_names_nothing_twice() -> None:
    lines = (ROOT / "scripts/boot/packages").read_text().splitlines()
    head, *rows = [line.split() for line in lines if line and not line.startswith("#")]
    assert head == ["group", "check", *MANAGERS]
    assert {row[0] for row in rows} == {"run", "test", "fuzz", "cross", "releases", "browser", "deb"}
    for row in rows:
        assert len(row) == len(head), row
    checks = [row[1] for row in rows]
    assert len(set(checks)) == len(checks)
    debian = [package for row in rows for package in row[2].split(",")]
    assert len(set(debian)) == len(debian)


def test_npm_is_asked_for_by_its_command_alone(tmp_path: Path) -> None:
    """Debian's package conflicts with the nodejs of others, which brings npm too: it was asked for there."""
    here = machine(tmp_path, user=1000, missing=())
    here.add_manager("apt-get")
    here.add("dpkg-query", 'case $* in *" npm") exit 1 ;; esac; echo "install ok installed"')
    assert here.deps("browser").stderr.splitlines()[-1].endswith("--no-install-recommends npm")
    here.add("npm")
    assert (here.deps("browser").returncode, here.deps("browser").stderr) == (0, "")
