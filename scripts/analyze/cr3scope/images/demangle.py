"""Names of C++ and Rust functions as their programmers wrote them, by binutils' c++filt."""

from __future__ import annotations

from functools import cache

_PREFIXES = ("_Z", "_R", "__Z")
_SECONDS = 5
_LONGEST = 160  # of a name with all its template arguments


@cache
def demangled(name: str) -> str:
    """Return the name in plain words; as it is where there is no c++filt, or the words are too long."""
    if not name.startswith(_PREFIXES):
        return name
    import shutil  # both are dear, and few kernels are in these languages
    import subprocess

    program = shutil.which("c++filt")
    if program is None:
        return name
    try:
        done = subprocess.run(
            [program, "--", name], capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return name
    plain = done.stdout.strip()
    return plain if plain and len(plain) <= _LONGEST else name
