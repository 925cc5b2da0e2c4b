"""docs/bindings.md: what Rust and Zig are told is what the header says, field by field."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import c_unit
import pytest

_DOC = c_unit.ROOT / "docs/bindings.md"
_HEADER = c_unit.ROOT / "trace/include/trace/switch.h"
_SCALARS = {"u16": "uint16_t", "u32": "unsigned", "u64": "uint64_t", "usize": "size_t"}
_STRUCTS = ("cr3scope_framebuffer",)  # that a struct holds
_ENUMS = ("cr3scope_status", "cr3scope_kind", "cr3scope_abi")


@dataclass(frozen=True, slots=True)
class Language:
    """How declarations are told from other text; ``types``: what is no scalar, by its words in that language."""

    fence: str
    struct: str
    field: str
    constant: str
    function: str
    types: dict[str, str]


_RUST = Language(
    "rust",
    r"pub struct (\w+) \{\n(.*?)\n\}",
    r"^    pub (?:r#)?(\w+): (.+),$",
    r"^pub const (\w+): \w+ = (\w+);$",
    r"pub fn (\w+)\(request: \*const cr3scope_request\) -> (.+);",
    {
        "*const c_char": "const char *", "*mut c_void": "void *", "[u64; 6]": "uint64_t @[6]",
        "*const cr3scope_range": "const struct cr3scope_range *", "*const cr3scope_access": "const struct cr3scope_access *",
        'Option<unsafe extern "C" fn(*mut c_void, u64) -> *const u64>': "const uint64_t *(*@)(void *, uint64_t)",
        'Option<unsafe extern "C" fn(*mut c_void, *const c_char, usize)>': "void (*@)(void *, const char *, size_t)",
        'Option<unsafe extern "C" fn(*mut c_void, *const c_char)>': "void (*@)(void *, const char *)",
    },
)  # fmt: skip
_ZIG = Language(
    "zig",
    r"pub const (\w+) = extern struct \{\n(.*?)\n\};",
    r'^    (?:@")?(\w+)"?: (.+) = [^=]+,$',
    r"^pub const (\w+): \w+ = (\w+);$",
    r"pub extern fn (\w+)\(request: \*const cr3scope_request\) (.+);",
    {
        "?[*:0]const u8": "const char *", "[*:0]const u8": "const char *", "?*anyopaque": "void *", "[6]u64": "uint64_t @[6]",
        "?[*]const cr3scope_range": "const struct cr3scope_range *", "?[*]const cr3scope_access": "const struct cr3scope_access *",
        "?*const fn (?*anyopaque, u64) callconv(.c) ?[*]const u64": "const uint64_t *(*@)(void *, uint64_t)",
        "?*const fn (?*anyopaque, [*]const u8, usize) callconv(.c) void": "void (*@)(void *, const char *, size_t)",
        "?*const fn (?*anyopaque, [*:0]const u8) callconv(.c) void": "void (*@)(void *, const char *)",
    },
)  # fmt: skip


def declared(language: Language, words: str, name: str) -> str:
    """A C declaration of ``name`` with the type that ``words`` are in the language."""
    if words in _ENUMS:
        return f"enum {words} {name}"
    if words in _STRUCTS:
        return f"struct {words} {name}"
    known = _SCALARS.get(words) or language.types[words]
    return known.replace("@", name) if "@" in known else f"{known} {name}"


def claims(language: Language, text: str) -> str:
    """A C file that compiles only if all of the block is so; with each struct's fields again, as the language has them."""
    lines = ['#include "trace/switch.h"', "#define SAME(a, b) _Static_assert(__builtin_types_compatible_p(a, b), #a)"]
    for name, body in re.findall(language.struct, text, re.DOTALL):
        fields = re.findall(language.field, body, re.MULTILINE)
        assert len(fields) == len(body.split("\n")), body
        lines.append(f"struct told_{name} {{ {' '.join(declared(language, words, field) + ';' for field, words in fields)} }};")
        lines.append(f"_Static_assert(sizeof(struct told_{name}) == sizeof(struct {name}), \"{name}\");")
        for field, _ in fields:
            place = f"offsetof(struct told_{name}, {field}) == offsetof(struct {name}, {field})"
            lines.append(f"_Static_assert({place}, \"{name}.{field}\");")
            lines.append(f"SAME(__typeof__(((struct told_{name} *)0)->{field}), __typeof__(((struct {name} *)0)->{field}));")
    for name, value in re.findall(language.constant, text, re.MULTILINE):
        lines.append(f"_Static_assert({name} == {value}, \"{name}\");")
    for name, words in re.findall(language.function, text):
        lines.append(f"{declared(language, words, f'told_{name}')}(const struct cr3scope_request *);")
        lines.append(f"SAME(__typeof__(told_{name}), __typeof__({name}));")
    return "\n".join(lines).replace("void * begun", "struct trace * begun") + "\n"


def block(language: Language) -> str:
    return _DOC.read_text().split(f"```{language.fence}\n")[1].split("```")[0]


def compiles(folder: Path, source: str) -> str:
    """What the compiler says against it; empty if nothing."""
    file = folder / "claims.c"
    file.write_text(source)
    words = ["cc", "-std=gnu11", "-fsyntax-only", "-I", str(c_unit.ROOT / "trace/include"), str(file)]
    return subprocess.run(words, capture_output=True, text=True).stderr


@pytest.mark.parametrize("language", [_RUST, _ZIG], ids=lambda one: one.fence)
def test_declarations_are_those_of_the_header(language: Language, tmp_path: Path) -> None:
    text = block(language)
    assert compiles(tmp_path, claims(language, text)) == ""


@pytest.mark.parametrize("language", [_RUST, _ZIG], ids=lambda one: one.fence)
def test_nothing_of_the_header_is_left_out(language: Language) -> None:
    text, header = block(language), _HEADER.read_text()
    for function in re.findall(r"^(?:enum cr3scope_status|const char \*) ?\*?(cr3scope_\w+)\(", header, re.MULTILINE):
        assert f"fn {function}(" in text, function
    for value in re.findall(r"^    (CR3SCOPE_[A-Z_]+)(?: = 0)?,", header, re.MULTILINE):
        assert f"const {value}: " in text, value
    for flag in re.findall(r"^#define (CR3SCOPE_\w+)\s+(?:\\\n\s*)?\d+u", header, re.MULTILINE):
        assert f"const {flag}: " in text, flag


@pytest.mark.parametrize(
    ("language", "of", "wrong"),
    [
        (_RUST, "pub rights: u32", "pub rights: u64"),
        (_RUST, "pub phys: u64,\n    pub rights: u32,", "pub rights: u32,\n    pub phys: u64,"),
        (_RUST, "CR3SCOPE_WARN: u32 = 4", "CR3SCOPE_WARN: u32 = 8"),
        (_ZIG, "gate_selector: u16", "gate_selector: u32"),
        (_ZIG, "cr3scope_reason(request: *const cr3scope_request) [*:0]const u8", "cr3scope_reason(request: *const cr3scope_request) u64"),
    ],
    ids=["width", "order", "value", "last", "signature"],
)
def test_declaration_that_differs_is_seen(language: Language, of: str, wrong: str, tmp_path: Path) -> None:
    text = block(language)
    assert of in text
    assert compiles(tmp_path, claims(language, text.replace(of, wrong, 1))) != ""
