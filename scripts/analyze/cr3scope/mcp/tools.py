"""The tools: each is a verb, with what a client may give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from cr3scope import limits
from cr3scope.dataclass import dataclass
from cr3scope.mcp import schemas
from cr3scope.mcp.parameters import Parameter, Unfit, Value, schema
from cr3scope.mcp.places import Places

Arguments = Mapping[str, Value]
Words = Callable[[Arguments, Places], list[str]]


@dataclass(frozen=True, slots=True)
class Tool:
    """``words``: the command line of the verb, without where its JSON goes; ``answers``: the schemas of that, one of which it has.
    ``page``: it also makes an HTML page, which is part of the answer."""

    name: str
    title: str
    description: str
    parameters: tuple[Parameter, ...]
    words: Words
    answers: tuple[str, ...] = ("cr3scope.verdict/1",)
    is_reading: bool = True
    page: bool = False

    def as_dict(self) -> dict[str, object]:
        """Return the tool as `tools/list` tells it."""
        answers = schemas.of(self.answers)
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": schema(self.parameters),
            **({"outputSchema": answers} if answers is not None else {}),
            "annotations": {
                "title": self.title,
                "readOnlyHint": self.is_reading,
                "destructiveHint": not self.is_reading,
                "idempotentHint": self.is_reading,
                "openWorldHint": not self.is_reading,
            },
        }


_ELF = Parameter("elf", "ELF files of the loader or kernel, for symbols and source lines: FILE or FILE@BASE (hex)", "strings")
_SOURCE = "a capture, an ELF core, an image of physical memory, or the text of `info tlb`, `info mem` or Linux' page-table dump"
_REGISTERS = tuple(
    Parameter(name, f"{name.upper()} in hex, where the source does not tell it") for name in ("cr0", "cr3", "cr4", "efer")
)
_OF_SOURCE = (
    *_REGISTERS,
    Parameter("base", "physical address, in hex, at which a memory image starts"),
    Parameter("dump", "which dump of a capture", choices=("new", "old", "after")),
)


def _options(arguments: Arguments, *names: str) -> Iterator[str]:
    """Those that are given, each as one word: no value is taken for another option."""
    for name in names:
        value = arguments.get(name)
        if isinstance(value, bool):
            yield from [f"--{name}"] * value
        elif isinstance(value, (str, float)):
            yield f"--{name}={value if isinstance(value, str) else f'{value:g}'}"


def _elf(arguments: Arguments, places: Places) -> list[str]:
    return [f"--elf={places.file_at(name, 'elf')}" for name in _list(arguments, "elf")]


def _list(arguments: Arguments, name: str) -> list[str]:
    value = arguments.get(name, [])
    return value if isinstance(value, list) else []


def _file(arguments: Arguments, name: str, places: Places) -> str:
    return str(places.file(str(arguments[name]), name))


def _word(arguments: Arguments, name: str) -> str:
    """A value that stands by itself. Unfit if the verb would take it for an option, of which one writes a file."""
    value = str(arguments[name])
    if value.startswith("-"):
        raise Unfit(f"{name}: begins with a hyphen, as an option")
    return value


def _of_source(arguments: Arguments) -> list[str]:
    return list(_options(arguments, "cr0", "cr3", "cr4", "efer", "base", "dump"))


def _triage(arguments: Arguments, places: Places) -> list[str]:
    capture = [f"--capture={_file(arguments, 'capture', places)}"] if "capture" in arguments else []
    return ["triage", *capture, *_elf(arguments, places), _file(arguments, "log", places)]


def _analyze(arguments: Arguments, places: Places) -> list[str]:
    log = [f"--log={_file(arguments, 'log', places)}"] if "log" in arguments else []
    return ["analyze", *log, *_elf(arguments, places), _file(arguments, "capture", places)]


def _report(arguments: Arguments, places: Places) -> list[str]:
    if "capture" in arguments:
        return _analyze(arguments, places)
    if "log" not in arguments:
        raise Unfit("capture or log: one of them is needed")
    return _triage(arguments, places)


def _maps(arguments: Arguments, places: Places) -> list[str]:
    return ["maps", *_options(arguments, "tree"), *_of_source(arguments), _file(arguments, "source", places)]


def _walk(arguments: Arguments, places: Places) -> list[str]:
    given = _options(arguments, "access", "user")
    return ["walk", *given, *_of_source(arguments), _file(arguments, "source", places), _word(arguments, "address")]


def _diff(arguments: Arguments, places: Places) -> list[str]:
    named = {"right-cr3": "right_cr3", "right-dump": "right_dump"}
    right = _options({option: arguments[name] for option, name in named.items() if name in arguments}, *named)
    return ["diff", *_of_source(arguments), *right, _file(arguments, "left", places), _file(arguments, "right", places)]


def _lint(arguments: Arguments, places: Places) -> list[str]:
    files = _list(arguments, "files")
    if not files:
        raise Unfit("files: none is named")
    return ["lint", *(str(places.file(name, "files")) for name in files)]


def _explain(arguments: Arguments, _places: Places) -> list[str]:
    return ["explain", *([_word(arguments, "rule")] if "rule" in arguments else [])]


def _run(programs: Sequence[str]) -> Words:
    def words(arguments: Arguments, places: Places) -> list[str]:
        command = _list(arguments, "command")
        if not command or command[0] not in programs:
            raise Unfit(f"command: begins with {' or '.join(programs)} (`cr3scope mcp --qemu PROGRAM` allows another)")
        folder = places.folder(str(arguments.get("folder", "cr3scope-run")), "folder")
        given = _options({"timeout": limits.MCP_RUN_SECONDS / 10, **arguments}, "timeout", "idle", "expect", "fail", "until", "who")
        return ["run", f"-o{folder}", *given, *_elf(arguments, places), "--", *command]

    return words


_READING = (
    Tool("triage", "Judge a log", "Find in a log of QEMU, KVM, Bochs or VirtualBox, an exception screen or an oops what a guest did not survive, and why.",
         (Parameter("log", "the log, or any text that holds one", is_needed=True), Parameter("capture", "the trace of the same run"), _ELF), _triage),
    Tool("analyze", "Judge a capture or a core", "Judge a trace of cr3scope, or an ELF core of a guest: what will its change of page tables do, which entry is to blame, what to change.",
         (Parameter("capture", "what a trace sink received, or an ELF core", is_needed=True), Parameter("log", "QEMU's `-d int,cpu_reset` log of the same run"), _ELF), _analyze),
    Tool("maps", "List mappings", "List what an address space maps, with the rights of all levels together; with `tree` as the tables' levels, which is short even for large spaces.",
         (Parameter("source", _SOURCE, is_needed=True), Parameter("tree", "show levels, runs of equal entries as one, and where a right is lost", "boolean"), *_OF_SOURCE), _maps, ("cr3scope.maps/1", "cr3scope.tree/1")),
    Tool("walk", "Walk an address", "Show every entry of the page tables that an address meets, and which one refuses the access.",
         (Parameter("source", _SOURCE, is_needed=True), Parameter("address", "virtual, in hex", is_needed=True),
          Parameter("access", "read, write or fetch", choices=("r", "w", "x")), Parameter("user", "at CPL 3", "boolean"), *_OF_SOURCE), _walk, ("cr3scope.walk/1",)),
    Tool("diff", "Compare address spaces", "Show which addresses two address spaces do not map alike.",
         (Parameter("left", _SOURCE, is_needed=True), Parameter("right", "the one to compare it with; may be the same file", is_needed=True), *_OF_SOURCE,
          Parameter("right_cr3", "root of the second one's tables, in hex"), Parameter("right_dump", "dump of the second capture", choices=("new", "old", "after"))), _diff, ("cr3scope.diff/1",)),
    Tool("lint", "Check files that are not booted", "Find in an ELF kernel, a .efi image or a Linux kernel what will not boot.",
         (Parameter("files", "the files", "strings", is_needed=True),), _lint, ("cr3scope.lint/1",)),
    Tool("explain", "Explain a rule", "Explain a rule that a verdict names: why, how it shows, how to mend it; without a rule list all.",
         (Parameter("rule", "a rule's id"),), _explain, ("cr3scope.diagnose.catalogue/1",)),
    Tool("report", "Make a report page", "Judge a capture (with its log, if there is one) or a log alone, and return the report as one HTML page beside the verdict.",
         (Parameter("capture", "a capture or an ELF core"), Parameter("log", "QEMU's log; alone, or beside the capture"), _ELF), _report, page=True),
)  # fmt: skip
_RUN_PARAMETERS = (
    Parameter("command", "the QEMU command, a word each; the program comes first", "strings", is_needed=True),
    Parameter("folder", "where serial.log, interrupts.log and qemu.cmd go (default: cr3scope-run)"),
    Parameter("timeout", "when a guest that is not done counts as hung, in seconds", "number", least=1, most=limits.MCP_RUN_SECONDS),
    Parameter("idle", "ends the run of a guest that has said nothing and halted for so many seconds", "number", least=0.1, most=limits.MCP_RUN_SECONDS),
    Parameter("expect", "regular expression that the guest must say on its serial port"),
    Parameter("fail", "regular expression that it must not say"),
    Parameter("until", "regular expression that ends the run"),
    Parameter("who", "keep which instruction wrote what", "boolean"),
    _ELF,
)


def tools(qemu: Sequence[str], with_run: bool) -> tuple[Tool, ...]:
    """Return all tools in their order; ``qemu``: programs that `run` may start."""
    running = Tool(
        "run", "Boot a QEMU and judge",
        "Run a QEMU command, watch the guest until it is done, and judge: which access killed it, which page-table entry is to blame, what to change."
        " QEMU reads and writes whatever its options name.",
        _RUN_PARAMETERS, _run(qemu), is_reading=False,
    )  # fmt: skip
    return (*_READING, running) if with_run else _READING
