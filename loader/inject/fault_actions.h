/** What the injected faults do that are more than one edit. fault_table.c says which row uses
 * which. */
#pragma once

#include "inject/faults.h"

/* faults_configure.c: on the configuration. */
void configure_breakpoint(struct config *config);
void configure_firmware_idt_in_small_pages(struct config *config);
void configure_gigabyte_pages(struct config *config);
void configure_stale_map_key(struct config *config);
void configure_call_after_exit(struct config *config);
void configure_sizeof_descriptors(struct config *config);
void configure_reclaimable_tables(struct config *config);
void configure_other_depth(struct config *config);
void configure_foreign_selector(struct config *config);
void configure_edit_of_firmware_tables(struct config *config);
void configure_kernel_halt(struct config *config);
void configure_kernel_loop(struct config *config);

/* faults_kernel.c: on the kernel in memory. */
void kernel_bss_dirty(const struct elf_image *kernel, uint8_t *bytes);
void kernel_text_zero(const struct elf_image *kernel, uint8_t *bytes);
void kernel_entry_absent(const struct elf_image *kernel, uint8_t *bytes);

/* faults_mapping.c: on a range that is about to be mapped; false leaves it out. */
bool stacks_over_kernel_text(struct mapping *mapping);
bool rodata_over_last_text_page(struct mapping *mapping);

/* faults_tables.c: on the finished tables. */
void nx_every_top_entry(const struct fault_scene *scene);
void nx_low_half(const struct fault_scene *scene);
void virtual_address_in_entry(const struct fault_scene *scene);
void garbage_in_kernel_pd(const struct fault_scene *scene);
void text_table_shared(const struct fault_scene *scene);
void text_user_at_every_level(const struct fault_scene *scene);
void info_user_at_every_level(const struct fault_scene *scene);
void text_frame_writable_elsewhere(const struct fault_scene *scene);
void guard_page_mapped(const struct fault_scene *scene);
void recursive_slot_one_lower(const struct fault_scene *scene);
void recursive_slot_to_kernel(const struct fault_scene *scene);
void unasked_page(const struct fault_scene *scene);

/* faults_handoff.c: on what the last instructions load. */
void stack_top_one_page_high(struct handoff_arguments *arguments);
void stack_top_at_guard(struct handoff_arguments *arguments);
void stack_top_not_canonical(struct handoff_arguments *arguments);
void stack_top_misaligned(struct handoff_arguments *arguments);
void entry_zero(struct handoff_arguments *arguments);
void entry_linker_default(struct handoff_arguments *arguments);
void entry_in_data(struct handoff_arguments *arguments);
void entry_not_canonical(struct handoff_arguments *arguments);
void entry_over_writable_rax(struct handoff_arguments *arguments);
void info_not_canonical(struct handoff_arguments *arguments);
void info_in_rcx(struct handoff_arguments *arguments);
void root_is_no_table(struct handoff_arguments *arguments);
void root_of_firmware(struct handoff_arguments *arguments);
void root_with_cache_flags(struct handoff_arguments *arguments);
void root_beyond_physical_memory(struct handoff_arguments *arguments);
void interrupts_on(struct handoff_arguments *arguments);

/* faults_state.c: on the rest of the CPU's state. */
void state_without_nxe(struct cpu_state *planned);
void state_with_smep(struct cpu_state *planned);
void state_with_smap(struct cpu_state *planned);
