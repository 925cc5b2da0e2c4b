"""Every image that can be found: the firmware's list, or the one that holds a PC."""

from __future__ import annotations

from cr3scope.errors import UnusableInput
from cr3scope.images.debug_table import debug_images
from cr3scope.images.guest_memory import GuestMemory
from cr3scope.images.loaded import Loaded, image_at


def all_images(guest: GuestMemory, pc: int) -> list[Loaded]:
    """Return the images of the debug image info table, and the one that holds ``pc``, if the table does not
    have it."""
    found = list(debug_images(guest))
    if not any(image.holds(pc) for image in found):
        try:
            found.append(image_at(guest, pc))
        except UnusableInput:
            pass
    return [Loaded(guest, image) for image in found]


def named(images: list[Loaded], name: str) -> Loaded:
    """Return the last image of that name; UnusableInput if there is none.

    Upper and lower case are alike, and the suffix may be left out.
    """
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
