"""`cr3scope break`."""

from __future__ import annotations

import gdb

from cr3scope.errors import UnusableInput
from cr3scope.images.image_list import all_images, named
from cr3scope.images.loaded import Loaded, image_at
from cr3scope_commands.command import Command, address, show
from cr3scope_commands.loading import run_until_loaded
from cr3scope_commands.target import Stop, stop

_MOST = 4  # DR0 to DR3


class Break(Command):
    """Break before every `mov cr3` of a loaded image, and print the verdict there.

    cr3scope break [ADDRESS | NAME]
    cr3scope break --on-load NAME
    The image that holds the PC, or ADDRESS, or that is called NAME (`cr3scope symbols` lists them).
    --on-load: lets the guest run until the firmware has loaded NAME, which has not started yet then.
    Hardware breakpoints: they outlive the firmware's copying, and need no symbols."""

    name, usage = "break", "[ADDRESS | NAME | --on-load NAME]"
    completion = gdb.COMPLETE_EXPRESSION

    def run(self, words: list[str]) -> None:
        if words[:1] == ["--on-load"]:
            if len(words) != 2:
                raise self.misused()
            show(_set(run_until_loaded(words[1])))
            return
        if len(words) > 1:
            raise self.misused()
        now = stop()
        show(_set(_image(now, words[0]) if words else Loaded(now, image_at(now, now.rip))))


def _image(now: Stop, word: str) -> Loaded:
    """A name first: an expression would complain of an unknown symbol."""
    try:
        return named(all_images(now, now.rip), word)
    except UnusableInput as not_named:
        try:
            return Loaded(now, image_at(now, address(word)))
        except UnusableInput as no_address:
            raise (no_address if word[:1].isdigit() or word[:1] == "$" else not_named) from None


def _set(image: Loaded) -> list[str]:
    found = list(image.switches())
    where = f"the image at {image.image.base:#x}"
    if not found:
        raise UnusableInput(f"no mov cr3 in the code of {where}")
    for at in found[:_MOST]:
        point = gdb.Breakpoint(f"*{at:#x}", gdb.BP_HARDWARE_BREAKPOINT)
        point.commands = "cr3scope check"
    lines = [f"{len(found)} mov cr3 in {where}: {', '.join(f'{at:#x}' for at in found[:_MOST])}"]
    if len(found) > _MOST:
        lines.append(f"only the first {_MOST} have a hardware breakpoint")
    return lines
