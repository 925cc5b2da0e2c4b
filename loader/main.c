/* The reference boot, from firmware to handoff: a table of contents. docs/design.md has the
 * picture. */
#include "firmware/firmware.h"

#include "boot.h"
#include "evidence/evidence.h"
#include "evidence/handed_over.h"
#include "evidence/last_boot.h"
#include "evidence/processors.h"
#include "evidence/serial.h"
#include "evidence/sinks.h"
#include "handoff/ap_start.h"
#include "handoff/leave.h"
#include "handoff/planned_state.h"
#include "inject/spoil.h"
#include "kernel/kernel_image.h"
#include "own_image.h"
#include "space/mapping.h"
#include "trace/control_registers.h"

#define CONFIG_FILE "\\cr3scope.cfg"
#define INITRD_FILE "\\initrd.img"

/* Static: zero at start, identity-mapped after the switch, and too large for the firmware's stack.
 */
static struct firmware firmware;
static struct boot boot;
static struct qr screen_work;

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system);

static void tell(void *context, const char *line) {
    firmware_tell(context, line);
}

/* One line for each, whatever comes of it: the boot goes on. */
static void tell_status(const char *what, EFI_STATUS status) {
    struct message line;
    message_start(&line, what);
    message_hex(&line, status);
    firmware_tell(&firmware, line.text);
}

static struct photo last_photo;
static uint8_t last_bytes[LAST_BOOT_BYTES];
static char last_lines[LAST_BOOT_FILE_BYTES];

/* What the last boot with last=show has left is told, and offered as a file. Others may have come
 * since. */
static void show_last_boot(void) {
    struct photo_kept kept;
    bool is_after;
    size_t count = firmware_variable_read(&firmware, last_bytes, sizeof(last_bytes));
    if (!last_boot_find(last_bytes, count, &boot.firmware_map, &kept, &is_after)) {
        firmware_tell(&firmware, "cr3scope: last: no boot has left anything that can be read");
        return;
    }
    firmware_tell(&firmware,
                  is_after
                      ? "cr3scope: last: what the last boot with last=show told after its switch:"
                      : "cr3scope: last: what the last boot with last=show told before its switch "
                        "(of what came then, memory holds nothing):");
    for (size_t at = 0; at < kept.text_bytes; at++) {
        struct message line;
        message_start(&line, "cr3scope: last: ");
        message_name(&line, kept.text + at, kept.text_bytes - at);
        firmware_tell(&firmware, line.text);
        while (at < kept.text_bytes && kept.text[at] != '\0') {
            at++;
        }
    }
    size_t bytes = last_boot_lines(&kept, &last_photo, last_lines);
    EFI_STATUS status = firmware_volume_write(&firmware, LAST_BOOT_FILE, "", last_lines, bytes);
    if (EFI_ERROR(status)) {
        tell_status("cr3scope: last: cr3scope.lst cannot be written, status ", status);
    } else {
        firmware_tell(&firmware,
                      "cr3scope: last: cr3scope analyze reads cr3scope.lst, on the boot volume");
    }
}

/* Memory for the time behind the switch; the variable when all is told that is told before. */
static void keep_for_next_boot(void) {
    size_t count = last_boot_pack(&boot.screen, (uint64_t)(uintptr_t)boot.request.keep, last_bytes);
    EFI_STATUS status = firmware_variable_write(&firmware, last_bytes, count);
    if (EFI_ERROR(status)) {
        tell_status("cr3scope: last: the firmware's variable cannot be written, status ", status);
    }
}

/* A configuration that cannot be read is not ignored: the boot would be another one than asked for.
 */
static bool read_config(void) {
    struct file file = {NULL, 0};
    config_defaults(&boot.config);
    switch (firmware_volume_read(&firmware, CONFIG_FILE, &file, &boot.why)) {
    case FIRMWARE_FILE_ABSENT:
        return true;
    case FIRMWARE_FILE_BAD:
        return boot_refuse(&boot, "cr3scope.cfg");
    case FIRMWARE_FILE_READ:
        break;
    }
    if (!config_parse(&boot.config, file.bytes, file.count, &boot.why)) {
        return boot_refuse(&boot, "cr3scope.cfg");
    }
    if (!faults_parse(boot.config.inject, &boot.faults, &boot.why)) {
        return boot_refuse(&boot, "cr3scope.cfg, inject=");
    }
    faults_configure(&boot.faults, &boot.config);
    /* It counts from the first allocation after this file's. */
    firmware.fail_allocation = boot.config.fail_allocation;
    firmware.allocations_asked = 0;
    return true;
}

/* The map is enough to know what is memory; it is taken again once it is to be kept. */
static void look_for_serial(void) {
    static uint8_t map[32 << 10] __attribute__((aligned(8)));
    boot.rsdp_phys = firmware_machine_rsdp(&firmware);
    cpu_read(&boot.cpu);
    if (EFI_ERROR(firmware_memory_map(&firmware, map, sizeof(map), &boot.firmware_map))) {
        boot.firmware_map = (struct memory_map){NULL, 0, 0, 0};
    }
    if (firmware_serial_find(&firmware)) {
        boot.firmware_serial = (struct trace_sink){"efi", firmware_serial_write, &firmware};
    }
}

static void trace_opening(void) {
    struct message serial;
    serial_name(&boot, &serial);
    trace_begin(&boot.trace, "loader", CR3SCOPE_VERSION);
    trace_open(&boot.trace, "config");
    trace_text(&boot.trace, "inject", boot.config.inject);
    trace_text(&boot.trace, "preflight", boot.config.preflight_stops ? "stop" : "warn");
    trace_text(&boot.trace, "safe_idt", boot.config.safe_idt ? "on" : "off");
    trace_text(&boot.trace, "identity", boot.config.identity_full ? "full" : "image");
    trace_text(&boot.trace, "breakpoint", boot.config.breakpoint ? "on" : "off");
    trace_text(&boot.trace, "rehearse", boot.config.rehearse ? "on" : "off");
    trace_text(&boot.trace, "serial", serial.text);
    trace_text(&boot.trace, "kernel", boot.config.kernel);
    trace_close(&boot.trace);
}

static void trace_machine(void) {
    char build_id[OWN_BUILD_ID_CHARS];
    firmware_trace(&firmware, &boot.trace, boot.cpu_count);
    cpu_trace(&boot.trace, "entry", &boot.cpu);
    trace_open(&boot.trace, "image");
    trace_text(&boot.trace, "name", "loader.efi");
    trace_hex(&boot.trace, "base", boot.image.base);
    trace_hex(&boot.trace, "size", boot.image.bytes);
    trace_text(&boot.trace, "build_id", own_image_build_id(build_id));
    trace_hex(&boot.trace, "text", (uint64_t)own_text - boot.image.base);
    trace_hex(&boot.trace, "text_size", (uint64_t)(own_text_end - own_text));
    trace_close(&boot.trace);
}

/* A debugger that attached sets it; `image` is in the trace by then, so it knows where to look. */
static volatile uint32_t debugger_go;

static void wait_for_debugger(void) {
    if (!boot.config.debugger_wait) {
        return;
    }
    firmware_tell(&firmware, "cr3scope: waiting for a debugger to set debugger_go = 1");
    /* The firmware's timer ends each halt: until then the processor is the debugger's. */
    bool timer_wakes = (boot.cpu.rflags & RFLAGS_IF) != 0;
    while (debugger_go == 0) {
        if (timer_wakes) {
            __asm__ volatile("hlt");
        } else {
            __asm__ volatile("pause");
        }
    }
}

static bool read_inputs(void) {
    boot.cpu_count = firmware_machine_cpu_count(&firmware);
    boot.apic_id_count = firmware_machine_apic_ids(&firmware, boot.apic_ids, HANDOFF_MAX_CPUS);
    trace_machine();
    wait_for_debugger();
    if (!firmware_memory_copy_map(&firmware, &boot.firmware_map, &boot.why)) {
        return boot_refuse(&boot, "memory map");
    }
    if (firmware_volume_read(&firmware, INITRD_FILE, &boot.initrd, &boot.why) !=
        FIRMWARE_FILE_READ) {
        return boot_refuse(&boot, "initrd.img");
    }
    firmware.misdeeds = boot.config.misdeeds; /* the copy above is what we ourselves go by */
    return true;
}

/* The map with all allocations in it: what the kernel gets differs only in what ExitBootServices
 * frees. */
static bool trace_memory_map(void) {
    struct memory_map map;
    EFI_STATUS status = firmware_memory_map(
        &firmware, (void *)(uintptr_t)boot.final_map.descriptors, boot.final_map_capacity, &map);
    if (EFI_ERROR(status)) {
        message_start(&boot.why, "GetMemoryMap failed with status ");
        message_hex(&boot.why, status);
        return boot_refuse(&boot, "memory map");
    }
    memory_map_trace(&map, &boot.trace);
    return true;
}

/* The evidence comes before the verdict: a boot that is stopped here is analyzed all the same. */
static bool check_and_trace(void) {
    bool will_fault;
    handed_over_trace(&boot);
    planned_state_make(&boot);
    spoil_handoff(&boot);
    planned_state_settle(&boot);
    if (boot.config.last_show) {
        boot.request.keep = (void *)(uintptr_t)firmware_variable_pages(&firmware, LAST_BOOT_PAGES);
        boot.request.keep_bytes = LAST_BOOT_PAGES * PAGE_BYTES;
        if (boot.request.keep == NULL) {
            struct message line;
            message_start(&line, "cr3scope: last: no memory below ");
            message_hex(&line, FIRMWARE_KEPT_BELOW);
            message_text(&line, " is free: nothing is kept of what comes behind the switch");
            firmware_tell(&firmware, line.text);
        }
    }
    ap_start_prepare(&boot);
    spoil_start(&boot);
    processors_trace(&boot);
    boot.request.tell = tell;
    boot.request.tell_context = &firmware;
    if (!evidence_trace(&boot, &will_fault) || !trace_memory_map()) {
        return false;
    }
    if (boot.config.last_show) {
        keep_for_next_boot();
    }
    return !will_fault || !boot.config.preflight_stops || boot_refuse(&boot, "preflight");
}

/* A trace file that cannot be written is no reason not to boot. */
static void save_trace_file(void) {
    if (!boot.has_buffer) {
        return;
    }
    trace_close_sink(&boot.trace, &boot.buffer.sink);
    boot.has_buffer = false;
    EFI_STATUS status = firmware_volume_write(&firmware, boot.config.trace_file, TRACE_SENTINEL,
                                              boot.buffer.bytes, boot.buffer.used);
    if (status == EFI_ACCESS_DENIED) {
        firmware_tell(&firmware, "cr3scope: the trace file is not written: what has its name is no "
                                 "trace, or may not be changed");
    } else if (EFI_ERROR(status)) {
        tell_status("cr3scope: the trace file cannot be written, status ", status);
    }
}

static bool leave_firmware(void) {
    unsigned attempts = 0;
    EFI_STATUS status =
        firmware_exit(&firmware, &boot.final_map, boot.final_map_capacity, &attempts);
    if (EFI_ERROR(status) && !boot.config.misdeeds.stale_map_key) {
        message_start(&boot.why, "failed with status ");
        message_hex(&boot.why, status);
        return boot_refuse(&boot, "ExitBootServices");
    }
    __asm__ volatile("cli" : : : "memory");
    trace_open(&boot.trace, "exit");
    trace_hex(&boot.trace, "status", status);
    trace_hex(&boot.trace, "attempts", attempts);
    trace_close(&boot.trace);
    if (boot.config.misdeeds.call_after_exit) {
        trace_open(&boot.trace, "call");
        trace_text(&boot.trace, "what", "ConOut->OutputString");
        trace_close(&boot.trace);
        firmware_tell(&firmware, "cr3scope: still here");
    }
    return true;
}

static bool run(void) {
    bool configured = read_config();
    firmware_display_find(&firmware, &boot.framebuffer);
    look_for_serial();
    bool traced = sinks_open(&boot);
    trace_opening();
    if (boot.serial_remark.text[0] != '\0') {
        firmware_tell(&firmware, boot.serial_remark.text);
    }
    if (!configured || !traced || !read_inputs()) {
        return false;
    }
    if (boot.config.last_show) {
        show_last_boot();
    }
    firmware_display_clear(&firmware);
    if (!kernel_image_load(&boot)) {
        return false;
    }
    spoil_kernel(&boot);
    spoil_mappings(&boot);
    if (!mapping_build(&boot)) {
        return false;
    }
    spoil_tables(&boot);
    if (!check_and_trace()) {
        return false;
    }
    if (boot.config.misdeeds.edit_firmware_tables) {
        spoil_firmware_tables(&boot);
    }
    if (kernel_image_traces(&boot)) {
        trace_end(&boot.trace, "loader", "kernel");
    }
    save_trace_file();
    serial_leave_firmware(&boot);
    if (!leave_firmware()) {
        return false;
    }
    if (!kernel_image_traces(&boot)) { /* with nothing to follow, it is the last word */
        trace_end(&boot.trace, "loader", "none");
    }
    return true;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system) {
    boot.pages =
        (struct page_source){firmware_memory_allocate, firmware_memory_allocate_below, &firmware};
    if (!firmware_start(&firmware, image, system, &boot.image, &boot.why)) {
        firmware_tell(&firmware, boot.why.text);
        return EFI_LOAD_ERROR;
    }
    if (run()) {
        leave_to_kernel(&boot);
    }
    struct message line;
    message_start(&line, "cr3scope: ");
    message_text(&line, boot.where);
    message_text(&line, ": ");
    message_text(&line, boot.why.text);
    firmware_tell(&firmware, line.text);
    trace_error(&boot.trace, boot.where, boot.why.text, 0);
    save_trace_file();
    if (boot.has_screen) { /* the firmware's own text may lie over it by now */
        screen_sink_line(&boot.screen, line.text);
        (void)screen_sink_show(&boot.screen, 0, &screen_work);
        firmware_display_wait(&firmware);
    }
    firmware_release(&firmware);
    return EFI_ABORTED;
}
