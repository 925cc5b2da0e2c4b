"""Writes the library of `trace/` as one file, `cr3scope.h` (`make single-header`).

The interface is `trace/include/trace/switch.h`. All else stands behind `CR3SCOPE_IMPLEMENTATION`: every name of a
file, macros too, gets a prefix, so that none meets a name of the program; only the interface's are seen by the linker.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TRACE = ROOT / "trace"
INTERFACE = TRACE / "include/trace/switch.h"
CLIMB = TRACE / "include/trace/climb.h"
PREFIX = "cr3scope_i_"
MACRO_PREFIX = "CR3SCOPE_I_"
# What draws: left out of a program that does not ask for it.
SCREEN = ("photo.h", "photo_words.h", "qr.h", "screen.h", "screen_sink.h", "photo.c", "photo_frames.c", "photo_kept.c", "qr.c", "screen_font.h", "screen.c", "screen_sink.c", "switch_screen.c")
# The four functions that compilers call by themselves
# stand in a block of their own.
LEFT_OUT = {"memory_functions.c"}
MEMORY_FUNCTIONS = TRACE / "memory_functions.c"

_TOKENS = re.compile(
    r"""(?P<comment>/\*.*?\*/)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<name>[A-Za-z_]\w*)|(?P<other>.)""", re.DOTALL
)
_INCLUDE = re.compile(r'^#include\s+[<"]([^>"]+)[>"]\n', re.MULTILINE)
_DEFINE = re.compile(r"^#define (\w+)", re.MULTILINE)
_TAG = re.compile(r"^(?:typedef )?(?:struct|enum|union)(?: __attribute__\(\(packed\)\))? (\w+) \{", re.MULTILINE)
_ENUMERATORS = re.compile(r"^\s*enum(?: \w+)? \{(.*?)\}", re.MULTILINE | re.DOTALL)
_DATA = re.compile(r"^(?:static |extern )[^;{}()=]*?\b(\w+)(?:\[[^\]]*\])*(?: EXCEPTION_HIDDEN)?(?: =|;)", re.MULTILINE)
_TYPEDEF = re.compile(r"^typedef char (\w+)", re.MULTILINE)
_FUNCTION = re.compile(r"^(?!typedef|return|#)[A-Za-z_][^;{}=#\"]*?\b(\w+)\([^;{}]*\)[^;{}]*[;{]", re.MULTILINE)
# A function of the library's own, by now with its prefix: whoever it may be shared with is in this file too.
_INTERNAL = re.compile(rf"^(?!static\b|typedef\b|extern\b|#)[A-Za-z_][^;{{}}=#\"]*?\b({PREFIX}\w+)\((?=[^;{{}}]*\)[^;{{}}]*[;{{]$)", re.MULTILINE)
_SEEN_BY_ASSEMBLY = ("exception_dispatch", "switch_jump", "switch_load_tables", "switch_try_read", "rehearse_enter")
# What is not everybody's. (The rehearsal's C sources ask for the same by themselves.)
_ONLY_IF = {"switch_rehearse.S": "#ifndef CR3SCOPE_NO_REHEARSAL", "climb.S": "#ifdef CR3SCOPE_CLIMB"}
_ELF_ONLY = (".type", ".size", ".hidden", ".section")
_WORDS_OF_C = {"__attribute__", "sizeof", "defined", "if", "while", "for", "switch", "return"}


def main() -> int:
    """Write the header to the file that is named, with the version and the glyphs that are given; return 0."""
    target, version, font = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(header(version, font))
    return 0


def header(version: str, font: Path) -> str:
    """Return the text of the whole file."""
    files = [Part(path) for path in ordered_headers()]
    sources = [Part(path) for path in sorted(TRACE.glob("*.c")) if path.name not in LEFT_OUT]
    public = set(Part(INTERFACE).names) | {"cr3scope_check", "cr3scope_rehearse", "cr3scope_switch", "cr3scope_leave", "cr3scope_reason", "trace"}
    shared = set().union(*(part.names for part in (*files, Part(font)))) - public
    assembly = [assembled(path, shared) for path in sorted(TRACE.glob("*.S"))]
    parts = (*files, Part(font), *sources)
    bodies = [_guarded(part, part.renamed(shared, public)) for part in parts]
    return _FRAME.format(
        version=version,
        interface=Part(INTERFACE).text.replace("#pragma once\n\n", "").replace("struct trace", "struct cr3scope_i_trace").strip(),
        climb=Part(CLIMB).text.strip(),
        bodies="\n".join(bodies), assembly="\n".join(assembly),
        memory=Part(MEMORY_FUNCTIONS).renamed(set(), {"memcpy", "memmove", "memset", "memcmp"}),
    )  # fmt: skip


def _guarded(part: Part, text: str) -> str:
    return f"#ifdef CR3SCOPE_SCREEN\n{text}#endif\n" if part.path.name in SCREEN else text


def ordered_headers() -> list[Path]:
    """Return the library's headers but the interface, each behind those that it includes."""
    order: list[Path] = []

    def take(path: Path) -> None:
        if path in order or path in (INTERFACE, CLIMB):
            return
        for name in _INCLUDE.findall(path.read_text()):
            included = TRACE / "include" / name if "/" in name else TRACE / name
            if included.is_file():
                take(included)
        order.append(path)

    for path in (*sorted((TRACE / "include/trace").glob("*.h")), *sorted(TRACE.glob("*.h"))):
        take(path)
    return order


class Part:
    """One file of the library: its text without includes, and the names that it defines for all of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = _INCLUDE.sub("", path.read_text()).replace("#pragma once\n", "")
        bare = re.sub(r"/\*.*?\*/", "", self.text, flags=re.DOTALL).replace("\\\n", " ")
        self.macros = set(_DEFINE.findall(bare))
        code = re.sub(r"^#.*$", "", bare, flags=re.MULTILINE)
        names = {*_TAG.findall(code), *_TYPEDEF.findall(code), *_DATA.findall(code), *_FUNCTION.findall(code)}
        for body in _ENUMERATORS.findall(code):
            names |= set(re.findall(r"\b([A-Z]\w+)", re.sub(r"=[^,}]*", "", body)))
        self.names = (names | self.macros) - _WORDS_OF_C

    def renamed(self, shared: set[str], public: set[str]) -> str:
        """Return the text with the prefix before every name of the library's own; a source's own have its name in it."""
        is_header = self.path.suffix == ".h"
        own = set() if is_header else self.names - shared - public
        stem = "" if is_header else self.path.stem + "_"

        seen_by_assembly = {PREFIX + word for word in _SEEN_BY_ASSEMBLY}

        def name(match: re.Match[str]) -> str:
            word = match["name"]
            if match["comment"]:
                return ""
            if word is None:
                return match[0]
            if word in own:
                return f"{MACRO_PREFIX if word in self.macros else PREFIX}{stem}{word}"
            if word in shared or word == "trace":
                return f"{PREFIX}{word}"
            return word

        text = _TOKENS.sub(name, self.text)
        text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
        text = _INTERNAL.sub(lambda match: match[0] if match[1] in seen_by_assembly else f"CR3SCOPE_I_STATIC {match[0]}", text)
        return f"/* {self.path.name} */\n" + re.sub(r"\n{2,}", "\n", text).strip() + "\n"


def assembled(path: Path, shared: set[str]) -> str:
    """Return an assembly source as a block of top-level assembly, with what only ELF knows marked as such."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    lines = []
    for line in text.split("\n"):
        bare = line.strip()
        if not bare or bare.startswith("#") or ".note.GNU-stack" in bare:
            continue
        bare = re.sub(r"[A-Za-z_]\w*", lambda match: PREFIX + match[0] if _is_label(match[0], shared, text) else match[0], bare)
        quoted = '"' + bare.replace("\\", "\\\\").replace('"', '\\"') + '\\n"'
        if bare.startswith(".section .text"):
            quoted = '".text\\n"'
        elif bare.startswith(_ELF_ONLY):
            quoted = f"CR3SCOPE_I_ELF({quoted})"
        lines.append(f"    {quoted}")
    block = f"/* {path.name} */\n__asm__(\n" + "\n".join(lines) + "\n);\n"
    return f"{_ONLY_IF[path.name]}\n{block}#endif\n" if path.name in _ONLY_IF else block


def _is_label(word: str, shared: set[str], text: str) -> bool:
    return not word.startswith("cr3scope_") and (
        word in shared or re.search(rf"^{word}:", text, re.MULTILINE) is not None or re.search(rf"\.set {word},", text) is not None
    )


_FRAME = """\
/*
 * cr3scope {version}: why a kernel dies when it changes its page tables, told before the switch.
 *
 * One file, made by `make single-header`: no edits here. Include it for its interface. In one file of the program, best one
 * of its own, say before that
 *
 *     #define CR3SCOPE_IMPLEMENTATION
 *
 * With CR3SCOPE_REHEARSAL it has the rehearsal too, about 5 KiB of text more, with CR3SCOPE_CLIMB the way up from 32-bit code, with CR3SCOPE_SCREEN
 * what draws on a frame buffer, about 10 KiB.
 * With CR3SCOPE_NO_MEMORY_FUNCTIONS it leaves memcpy, memmove, memset and memcmp to the program; else it has weak ones.
 * docs/drop-in.md tells the rest.
 */
#ifndef CR3SCOPE_H
#define CR3SCOPE_H
#define CR3SCOPE_VERSION "{version}"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

{interface}

{climb}

#endif

#ifdef CR3SCOPE_IMPLEMENTATION
#ifndef CR3SCOPE_IMPLEMENTED
#define CR3SCOPE_IMPLEMENTED

#ifndef CR3SCOPE_REHEARSAL
#define CR3SCOPE_NO_REHEARSAL
#endif
#define CR3SCOPE_I_STATIC static __attribute__((unused))
#ifdef __ELF__
#define CR3SCOPE_I_ELF(text) text
#else
#define CR3SCOPE_I_ELF(text) ""
#endif
#ifdef __cplusplus
extern "C" {{
#endif

{bodies}
{assembly}
#ifndef CR3SCOPE_NO_MEMORY_FUNCTIONS
{memory}
#endif

#ifdef __cplusplus
}}
#endif
#endif
#endif
"""


if __name__ == "__main__":
    sys.exit(main())
