/* The conformance kernel: what the loader claimed, checked from inside. docs/kernel.md says what
 * each check proves. */
#include "checks.h"
#include "descriptors.h"
#include "fault_screen.h"
#include "finish.h"
#include "options.h"
#include "output.h"
#include "page_probe.h"
#include "processors.h"
#include "report.h"
#include "text.h"
#include "trace/cpu.h"
#include "trace/trace.h"

extern const char text_first[], text_end[]; /* kernel.ld */

_Noreturn void kernel_main(const struct handoff *handoff, const struct entry_state *entry);
_Noreturn void kernel_refuse(uint64_t magic, uint32_t version);

static void note_unknown(const char *word, size_t length) {
    struct text line;
    text_set(&line, "NOTE: the command line has an unknown word: ");
    for (size_t i = 0; i < length; i++) {
        text_add(&line, "%c", word[i]);
    }
    output_line(line.bytes);
}

/** entry.S calls it with interrupts off, on stack 0. */
_Noreturn void kernel_main(const struct handoff *handoff, const struct entry_state *entry) {
    struct cpu_state cpu;
    cpu_read(&cpu);
    const struct boot boot = {handoff, entry, &cpu};

    /*
     * All our code is fetched under the loader's IDT: with ours, a handler that cannot be fetched
     * would fault for ever, since each fault begins on a fresh interrupt stack.
     */
    pages_call(
        (struct virt_range){(uint64_t)(uintptr_t)text_first, (uint64_t)(uintptr_t)text_end - 1});

    /* From here on an unexpected exception is our own to report. */
    descriptors_load(0);
    output_resume(handoff);
    trace_section(output_trace(), "kernel");

    struct options options;
    options_parse(handoff->command_line, sizeof(handoff->command_line), note_unknown, &options);
    finish_only_halts(options.halt_only);
    descriptors_share(options.sharing);
    if (options.screen) {
        fault_screen_use(handoff);
    }
    if (options.stop) {
        finish_by_halt();
    }
    while (options.spin) {
        __asm__ volatile("");
    }

    if (check_handoff(&boot)) {
        check_cpu(&boot);
        check_segments(&boot);
        check_stacks(&boot);
        check_initrd(&boot);
        check_framebuffer(&boot);
        check_tables(&boot);
        check_recursive(&boot);
        check_memory_map(&boot);
        check_dump(&boot);
        processors_check(&boot);
    }
    finish(report_close());
}

/** entry.S calls it where the boot info is not ours: there is no trace to go on with. */
_Noreturn void kernel_refuse(uint64_t magic, uint32_t version) {
    struct text line;
    output_probe();
    text_set(&line, "FAIL handoff.version: magic %lx version %u, expected %lx and %u", magic,
             version, HANDOFF_MAGIC, HANDOFF_VERSION);
    output_line(line.bytes);
    finish(false);
}
