/* Faults that are another way of doing a whole step: the configuration says so to whoever does it.
 */
#include "inject/fault_actions.h"
#include "text.h"

void on_config_breakpoint(struct config *config) {
    config->breakpoint = true;
}

/* The IDT's two pages can then be mapped one without the other. An int3 shows it. */
void on_config_firmware_idt_in_small_pages(struct config *config) {
    config->safe_idt = false;
    config->identity_full = true;
    config->identity_level = 1;
    config->breakpoint = true;
}

void on_config_gigabyte_pages(struct config *config) {
    config->identity_full = true;
    config->identity_level = 3;
}

void on_config_stale_map_key(struct config *config) {
    config->misdeeds.stale_map_key = true;
}

void on_config_call_after_exit(struct config *config) {
    config->misdeeds.call_after_exit = true;
}

void on_config_sizeof_descriptors(struct config *config) {
    config->misdeeds.sizeof_descriptors = true;
}

void on_config_reclaimable_tables(struct config *config) {
    config->misdeeds.reclaimable_tables = true;
}

void on_config_other_depth(struct config *config) {
    config->misdeeds.other_depth = true;
}

/* The gates of the safe IDT; an int3 shows it. */
void on_config_foreign_selector(struct config *config) {
    config->misdeeds.foreign_selector = true;
    config->breakpoint = true;
}

void on_config_tables_above_4g(struct config *config) {
    config->misdeeds.tables_above_4g = true;
}

void on_config_edit_firmware_tables(struct config *config) {
    config->misdeeds.edit_firmware_tables = true;
}

/* The kernel's command line is a list of words; one more goes in front. */
static void add_kernel_word(struct config *config, const char *word) {
    size_t length = text_length(word);
    size_t room = sizeof(config->kernel) - 1 - length;
    __builtin_memmove(config->kernel + length, config->kernel, room);
    __builtin_memcpy(config->kernel, word, length);
    config->kernel[sizeof(config->kernel) - 1] = '\0';
}

void on_config_kernel_halt(struct config *config) {
    add_kernel_word(config, "do=hlt ");
}

void on_config_kernel_busy_tss(struct config *config) {
    add_kernel_word(config, "tss=busy ");
}

void on_config_kernel_copied_tss(struct config *config) {
    add_kernel_word(config, "tss=copied ");
}

void on_config_kernel_loop(struct config *config) {
    add_kernel_word(config, "do=loop ");
}
