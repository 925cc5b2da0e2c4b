"""How much of anything from outside is read: the budget of each input, with its reason.

Past one the answer says which, and what was judged. What is only a matter of taste (how many lines of a list are
told) is none of these.
"""

from __future__ import annotations

from typing import Final

# Captures. A few bytes of a stream can stand for many: what one capture may decode to is bounded. The largest
# honest dump known, 1 TiB mapped with 2 MiB pages, has 1024 tables.
CAPTURE_BOOTS: Final = 4096
CAPTURE_JUDGED_BOOTS: Final = 16  # each is judged like a capture of its own, in a twentieth of a second
CAPTURE_BYTES: Final = 1 << 28  # the longest captures known, of weeks of boots, have some megabytes
# Records of a kind in one boot. The loader here loads 8 segments and plans some dozen steps; of `map`, `set`, `table`
# and `region` a loader may write one a page. All others that stand alone: far more than any writer has.
CAPTURE_KIND: Final = 1 << 10
CAPTURE_KINDS: Final = {"map": 1 << 17, "set": 1 << 17, "table": 1 << 16, "region": 1 << 16, "plan": 1 << 12,
                        "preflight": 1 << 12, "rehearsal": 1 << 12, "check": 1 << 12, "segment": 1 << 8, "image": 1 << 8}  # fmt: skip
CAPTURE_TABLES: Final = 3 << 13
CAPTURE_MEMORY_BYTES: Final = 1 << 20  # of one record
CAPTURE_DECODED_BYTES: Final = 1 << 26  # of all

# A source that comes through a pipe is held in memory; a file is mapped.
PIPE_BYTES: Final = 1 << 30

# Photos of a screen. A phone's camera has up to 50 million pixels and makes some 20 MB of them; a screen's stream
# has at most 255 codes.
PICTURE_BYTES: Final = 64 << 20
PICTURE_PIXELS: Final = 64 << 20
PICTURE_SECONDS: Final = 60.0  # of zbarimg, on a slow machine
PICTURES: Final = 255
PHOTO_TEXT_BYTES: Final = 1 << 16  # in which a text of scanned codes must show the first

# What was asked for, held against the tables. A kernel maps some dozen ranges, whatever maps page by page some
# thousand; what lies below one entry that refuses is told with that entry.
SCAN_RANGES: Final = 1 << 16  # into which tables are cut: more are no loader's work
SCAN_STEPS: Final = 1 << 14  # walks of what is not granted at once
REFUSED_PARTS: Final = 1 << 10
EDGES: Final = 1 << 10  # of named ranges within one access: it has as many pages, or more, but the same few names
PROBE_STEPS: Final = 1 << 13  # parts of ranges that are tried on other CPUs; a healthy boot takes some dozen

# A run: what QEMU answers, what its guest sends, and what else is started for it.
SERIAL_BYTES: Final = 32 << 20  # of the serial port: three quarters for its beginning, the rest for its end
PATTERN_SECONDS: Final = 1.0  # of CPU, for one search of --expect, --fail or --until: some take for ever on some lines
STDERR_BYTES: Final = 1 << 16  # of what QEMU itself says
STDOUT_BYTES: Final = 4 << 20  # where the guest's serial port goes elsewhere
COMMAND_CAPTURE_BYTES: Final = CAPTURE_DECODED_BYTES  # of what --capture-command prints
LISTEN_WAITING_BYTES: Final = 64 << 20  # of a console, while what came before is judged: six minutes at 2 Mbaud
QMP_MESSAGE_BYTES: Final = 1 << 24  # the longest answer that is known, the registers of 4096 CPUs, has 8 MiB
QMP_TURN_BYTES: Final = 1 << 18  # taken before the clock is looked at again
QMP_EVENTS: Final = 4096  # that nobody has asked for yet; a QEMU sends a few in a second
QMP_DIGITS: Final = 20  # of a number: 2^64 has as many
STUB_PACKET_BYTES: Final = 1 << 16  # to a breakpoint's question; QEMU's own limit of a packet is 4 KiB
KEPT_TABLE_PAGES: Final = 4096  # of tables.core: 16 MiB
MONITOR_CPUS: Final = 4096  # QEMU's own limit is below that
MONITOR_RAM_RANGES: Final = 1 << 12  # each address space lists each; memory devices make some hundred

# What the plugin of QEMU keeps: its own sections are bounded where they are laid out (input/writers/layout.py).
WATCHED_WORDS: Final = 4  # at whose stores a guest is stopped: a processor of the host has no more watchpoints
WATCH_STOPS: Final = 2000  # of a guest, some 10 ms each
WRITER_CALLS: Final = 256  # under way at one store: what is above is told by those
PLUGIN_BUILD_SECONDS: Final = 60  # of a compiler that makes six small files, on a busy machine
PLUGIN_ASK_SECONDS: Final = 20  # of a QEMU that is asked for its plugin API and leaves at once
PLUGIN_WORDS_BYTES: Final = 1 << 16  # of what a compiler or QEMU says then
KEPT_IMAGE_BYTES: Final = 1 << 28  # of a disk image that is kept as it was for a second boot
KEPT_FOLDER_FILES: Final = 1 << 12  # of a folder that QEMU makes a disk of

# ELF files: cores and the files that images were made from. A core of a guest that is written with paging has a
# segment for each mapping, a kernel a section for each function at most. QEMU writes two notes for each of at most
# 4096 CPUs; the trace that `cr3scope save` adds is the largest of them.
ELF_SEGMENTS: Final = 1 << 17
ELF_SECTIONS: Final = 1 << 18
CORE_NOTES: Final = 1 << 14
CORE_NOTE_BYTES: Final = 1 << 27  # of all
CORE_WORDS_BYTES: Final = 1 << 20  # of what `cr3scope save` notes beside QEMU's registers
CORE_RAM_RANGES: Final = 1 << 10
CORE_COMPARED_BYTES: Final = 1 << 27  # of memory that a core holds more than once

# What tells symbols and lines of the user's own files: each answer within seconds, whatever the file claims. The
# debug information of Linux, whole, is some 400 MB; its largest unit and all of its ranges are far below these. A file
# whose compiler wrote no ranges is searched unit by unit.
ELF_SYMBOLS: Final = 1 << 22
ELF_NAME_BYTES: Final = 1 << 27  # of a table of names
ELF_SYMBOL_NAME: Final = 1 << 12
ELF_SEGMENT_BYTES: Final = 1 << 28  # of all segments, which are compared with memory
ELF_NOTE_BYTES: Final = 1 << 20  # of one section of notes
DWARF_BYTES: Final = 3 << 27  # of all sections that are read, unpacked
DWARF_UNITS: Final = 1 << 14
DWARF_ABBREVIATION_BYTES: Final = 1 << 20
DWARF_LINE_BYTES: Final = 1 << 21

# Images in a guest's memory and PE files: the firmware's list is the guest's, and may claim any number and size.
PE_IMAGE_BYTES: Final = 256 << 20
PE_CODE_BYTES: Final = 1 << 26  # of all sections of a PE file, which may overlap
PE_SECTION_BYTES: Final = 1 << 24  # of an image, or one section of it, in a guest's memory: a table may claim any size
PE_NAME_BYTES: Final = 1 << 12  # of the record that names a PDB
PE_SECTIONS: Final = 96  # what Windows loads at most
PE_DEBUG_ENTRIES: Final = 16
PE_SEARCH_BYTES: Final = 64 << 20  # below a PC, for the head of its image
IMAGES_BYTES: Final = 256 << 20  # of all images that are searched
UEFI_PLACES: Final = 1 << 14  # of the system table's pointer: 64 GiB
UEFI_PLACES_BEHIND_BIOS: Final = 16  # of a UEFI that a BIOS has started
UEFI_TABLES: Final = 64
UEFI_IMAGES: Final = 1024
UEFI_PATH_NODES: Final = 16
SOURCE_BYTES: Final = 16 << 20  # of a source file
SOURCE_LINE_BYTES: Final = 1 << 16

# Lint: what is looked for in a file that is not booted. Headers lie at its beginning; of code only functions whose bytes
# may hold what is looked for are decoded, 50,000 instructions in a second.
LINT_FILE_BYTES: Final = 1 << 30
LINT_SEARCH_BYTES: Final = 256 << 20
LINT_MAGICS: Final = 1 << 10  # of one kind that are looked at
LINT_FUNCTIONS: Final = 1 << 9  # that are decoded
LINT_FUNCTION_BYTES: Final = 1 << 13
LINT_CODE_BYTES: Final = 1 << 18  # of them all
LINT_INSTRUCTIONS: Final = 1 << 15  # that are followed from an image's entry
LINT_PAIRS: Final = 1 << 10  # of segments or sections that are compared with each other
LINT_RELOCATION_BYTES: Final = 1 << 22

# Audit of a guest at its end: what every CPU would need next.
AUDIT_CPUS: Final = 8
AUDIT_TABLES: Final = 1 << 10  # that lead to what user code can write

# The tree of an address space. A million pages of 4 KiB have 1954 tables of the lowest level.
TREE_TABLES: Final = 1 << 14  # of one level
TREE_LINES: Final = 1 << 12  # of which a person reads the first hundred
TREE_LINES_OF_TABLE: Final = 40  # a table whose entries alternate is no tree any more
TREE_JUDGED_BYTES: Final = 1 << 20  # of a capture, whose verdict says which entries are to blame
TREE_COPIES: Final = 1 << 14  # tables of one shape whose frames are compared with each other
DRAWN_LINES: Final = 1 << 9  # of a picture: more is no picture of a paper any more

# Agents: what one client of `cr3scope mcp` may send, and what it gets. A model reads some thousand lines at most.
MCP_LINE_BYTES: Final = 1 << 20  # of one message
MCP_READ_BYTES: Final = 1 << 16  # at once
MCP_WORDS: Final = 256  # of one argument
MCP_WORD_LETTERS: Final = 1 << 12
MCP_CALLS: Final = 4  # at work at once
MCP_WAITING: Final = 64  # calls that are not answered yet
MCP_TEXT_BYTES: Final = 1 << 16
MCP_JSON_BYTES: Final = 1 << 20
MCP_PAGE_BYTES: Final = 1 << 20  # a default boot's report has 300 kB at most
MCP_SECONDS: Final = 120.0  # of a call that only reads
MCP_RUN_SECONDS: Final = 600.0
MCP_PROGRESS_SECONDS: Final = 1.0  # between two words on one call
MCP_END_SECONDS: Final = 5.0  # from the end of a call to the end of its process
MCP_LINGER_SECONDS: Final = 5.0  # of calls that only read, after the client's last word

# Listings.
LISTING_FRAMES: Final = 1 << 16  # that one range lists one by one

# Mappings without numpy: 64 tables in 0.1 s.
PLAIN_RANGES: Final = 1 << 14
PLAIN_STEPS: Final = 1 << 22  # entries that are looked at, and ranges that are put together

# Doctor: what it asks of other programs.
DOCTOR_SECONDS: Final = 10.0
DOCTOR_BYTES: Final = 1 << 18

# The page of a verdict. What is embedded stays below 12 MB for a million pages in no order; of the rest the page says that
# it does not hold it.
REPORT_TABLES: Final = 1 << 12
REPORT_NAMES: Final = 1 << 11
REPORT_EVENTS: Final = 1 << 9  # of a kind
REPORT_STEPS: Final = 1 << 9
REPORT_STEP_BYTES: Final = 1 << 24  # of one access, which the page walks page by page
REPORT_EDITS: Final = 1 << 12  # of one finding's mend
REPORT_MENDED: Final = 1 << 21  # ranges of the mended spaces that the columns can show, all together
REPORT_CHANGES: Final = 1 << 5

# Reports for CI. An issue or a comment of the common forges holds 65,536 characters, an annotation some thousand.
MARKDOWN_CHARACTERS: Final = 60_000
ANNOTATION_CHARACTERS: Final = 4_000
