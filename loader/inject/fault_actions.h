/** What the injected faults do that are more than one edit. fault_table.c says which row uses
 * which. */
#pragma once

#include "inject/faults.h"

/* on_config.c: on the configuration. */
void on_config_breakpoint(struct config *config);
void on_config_firmware_idt_in_small_pages(struct config *config);
void on_config_gigabyte_pages(struct config *config);
void on_config_stale_map_key(struct config *config);
void on_config_call_after_exit(struct config *config);
void on_config_sizeof_descriptors(struct config *config);
void on_config_reclaimable_tables(struct config *config);
void on_config_other_depth(struct config *config);
void on_config_foreign_selector(struct config *config);
void on_config_edit_firmware_tables(struct config *config);
void on_config_tables_above_4g(struct config *config);
void on_config_kernel_halt(struct config *config);
void on_config_kernel_busy_tss(struct config *config);
void on_config_kernel_copied_tss(struct config *config);
void on_config_kernel_loop(struct config *config);

/* on_kernel.c: on the kernel in memory. */
void on_kernel_bss_dirty(const struct elf_image *kernel, uint8_t *bytes);
void on_kernel_text_zero(const struct elf_image *kernel, uint8_t *bytes);
void on_kernel_entry_absent(const struct elf_image *kernel, uint8_t *bytes);

/* on_mapping.c: on a range that is about to be mapped; false leaves it out. */
bool on_mapping_stacks_over_kernel_text(struct mapping *mapping);
bool on_mapping_rodata_over_last_text_page(struct mapping *mapping);

/* on_tables.c: on the finished tables. */
void on_tables_nx_every_top_entry(const struct fault_scene *scene);
void on_tables_nx_low_half(const struct fault_scene *scene);
void on_tables_virtual_address_in_entry(const struct fault_scene *scene);
void on_tables_garbage_in_kernel_pd(const struct fault_scene *scene);
void on_tables_text_table_shared(const struct fault_scene *scene);
void on_tables_text_user_at_every_level(const struct fault_scene *scene);
void on_tables_info_user_at_every_level(const struct fault_scene *scene);
void on_tables_text_frame_writable_elsewhere(const struct fault_scene *scene);
void on_tables_guard_page_mapped(const struct fault_scene *scene);
void on_tables_recursive_slot_one_lower(const struct fault_scene *scene);
void on_tables_recursive_slot_to_kernel(const struct fault_scene *scene);
void on_tables_unasked_page(const struct fault_scene *scene);

/* on_handoff.c: on what the last instructions load. */
void on_handoff_stack_top_one_page_high(struct cr3scope_request *request);
void on_handoff_stack_top_at_guard(struct cr3scope_request *request);
void on_handoff_stack_top_not_canonical(struct cr3scope_request *request);
void on_handoff_stack_top_misaligned(struct cr3scope_request *request);
void on_handoff_entry_zero(struct cr3scope_request *request);
void on_handoff_entry_linker_default(struct cr3scope_request *request);
void on_handoff_entry_in_data(struct cr3scope_request *request);
void on_handoff_entry_not_canonical(struct cr3scope_request *request);
void on_handoff_entry_over_writable_rax(struct cr3scope_request *request);
void on_handoff_info_not_canonical(struct cr3scope_request *request);
void on_handoff_info_in_rcx(struct cr3scope_request *request);
void on_handoff_root_is_no_table(struct cr3scope_request *request);
void on_handoff_root_of_firmware(struct cr3scope_request *request);
void on_handoff_root_with_cache_flags(struct cr3scope_request *request);
void on_handoff_root_beyond_physical_memory(struct cr3scope_request *request);
void on_handoff_interrupts_on(struct cr3scope_request *request);

/* on_state.c: on the rest of the CPU's state. */
void on_state_without_nxe(struct cpu_state *planned);
void on_state_with_smep(struct cpu_state *planned);
void on_state_with_smap(struct cpu_state *planned);

/* on_start.c: on what the other CPUs run through. */
void on_start_gdt_in_segment(const struct fault_start *start);
void on_start_gdt_short(const struct fault_start *start);
void on_start_without_nxe(const struct fault_start *start);
void on_start_without_lme(const struct fault_start *start);
void on_start_without_pae(const struct fault_start *start);
void on_start_without_smep(const struct fault_start *start);
void on_start_without_wp(const struct fault_start *start);
void on_start_other_depth(const struct fault_start *start);
void on_start_stack_shared(const struct fault_start *start);
void on_start_stack_unmapped(const struct fault_start *start);
void on_start_without_lidt(const struct fault_start *start);
void on_start_code_overwritten(const struct fault_start *start);
void on_start_jump_to_data(const struct fault_start *start);
void on_start_jump_to_32_bit(const struct fault_start *start);
void on_start_vector_elsewhere(const struct fault_start *start);
