"""The Python fuzzers, in the order in which they run."""

from __future__ import annotations

from fuzz.agents import AGENT, TREE
from fuzz.boot_files import LINT
from fuzz.captures import CAPTURE, TWIN
from fuzz.cores import CORE
from fuzz.elves import ELF, PE
from fuzz.listings import LISTING
from fuzz.logs import DAMAGED_LOG, LOG
from fuzz.monitors import DIALOGUE, EXAMINED, GRAPH
from fuzz.photos import PHOTO
from fuzz.stopped import STOPPED
from fuzz.target import Target
from fuzz.writers import WRITERS

TARGETS: tuple[Target, ...] = (
    CAPTURE, TWIN, PHOTO, LOG, DAMAGED_LOG, CORE, STOPPED, ELF, PE, LINT, GRAPH, LISTING, DIALOGUE, EXAMINED, WRITERS, AGENT, TREE,
)  # fmt: skip
