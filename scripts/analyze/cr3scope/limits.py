"""How much of anything from outside is read: the budget of each input, with its reason.

Past one the answer says which, and what was judged. What is only a matter of taste (how many lines of a list are
told) is none of these.
"""

from __future__ import annotations

from typing import Final

# Captures. A few bytes of a stream can stand for many: what one capture may decode to is bounded. The largest
# honest dump known, 1 TiB mapped with 2 MiB pages, has 1024 tables.
CAPTURE_BOOTS: Final = 4096
CAPTURE_TABLES: Final = 1 << 16
CAPTURE_MEMORY_BYTES: Final = 1 << 20  # of one record
CAPTURE_DECODED_BYTES: Final = 1 << 26  # of all
