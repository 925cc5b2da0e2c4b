"""Every image that can be found: the firmware's list, or the one that holds the PC."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope_commands.debug_images import debug_images
from cr3scope_commands.images import Loaded, image_at
from cr3scope_commands.target import Stop


def all_images(now: Stop) -> list[Loaded]:
    """Those of the debug image info table, and the PC's, if the table does not have it."""
    found = list(debug_images(now))
    if not any(image.holds(now.rip) for image in found):
        try:
            found.append(image_at(now, now.rip))
        except UnusableInput:
            pass
    return [Loaded(now, image) for image in found]


def named(images: list[Loaded], name: str) -> Loaded:
    """The last image of that name (upper and lower case are alike, the suffix may be left out)."""
    wanted = _plain(name)
    for image in reversed(images):
        if any(wanted == _plain(own) for own in image.names):
            return image
    raise UnusableInput(f"no loaded image is called {name}: `cr3scope symbols` lists them")


def _plain(name: str) -> str:
    lower = name.lower()
    for suffix in (".efi", ".elf", ".so", ".pdb", ".dll", ".debug"):
        lower = lower.removesuffix(suffix)
    return lower
