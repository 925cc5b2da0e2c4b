/** What each injected fault does. fault_table.c says which row uses which; three files hold the
 * code. */
#pragma once

#include <stdbool.h>

struct mapping;
struct address_space;
struct handoff_arguments;

/* faults_mapping.c: on a range that is about to be mapped; false leaves it out. */
bool drop_trampoline(struct mapping *mapping);
bool drop_text(struct mapping *mapping);
bool drop_rodata(struct mapping *mapping);
bool drop_data(struct mapping *mapping);
bool drop_last_text_page(struct mapping *mapping);
bool drop_stacks(struct mapping *mapping);
bool drop_boot_info(struct mapping *mapping);
bool drop_memory_map(struct mapping *mapping);
bool drop_initrd(struct mapping *mapping);
bool drop_framebuffer(struct mapping *mapping);
bool drop_end_of_framebuffer(struct mapping *mapping);
bool drop_idt(struct mapping *mapping);
bool text_without_execute(struct mapping *mapping);
bool stacks_without_write(struct mapping *mapping);
bool framebuffer_without_write(struct mapping *mapping);

/* faults_tables.c: on the finished tables. */
void nx_every_top_entry(struct address_space *space);
void nx_low_half(struct address_space *space);
void nx_kernel_top_entry(struct address_space *space);
void nx_kernel_pdpt_entry(struct address_space *space);
void nx_kernel_pd_entry(struct address_space *space);
void nx_loader_pdpt_entry(struct address_space *space);
void nx_loader_pd_entry(struct address_space *space);
void nx_entry_page(struct address_space *space);
void readonly_stack_pml4_entry(struct address_space *space);
void readonly_stack_pdpt_entry(struct address_space *space);
void readonly_stack_pd_entry(struct address_space *space);
void not_present_kernel_pd_entry(struct address_space *space);
void large_bit_in_kernel_pml4_entry(struct address_space *space);
void large_bit_in_kernel_pd_entry(struct address_space *space);
void high_frame_bit_in_kernel_page(struct address_space *space);
void high_frame_bit_in_stack_pdpt_entry(struct address_space *space);

/* faults_handoff.c: on the values that the last instructions load. */
void stack_top_one_page_high(struct handoff_arguments *arguments);
void stack_top_at_guard(struct handoff_arguments *arguments);
void stack_top_not_canonical(struct handoff_arguments *arguments);
void entry_zero(struct handoff_arguments *arguments);
void entry_in_data(struct handoff_arguments *arguments);
void entry_not_canonical(struct handoff_arguments *arguments);
void root_is_no_table(struct handoff_arguments *arguments);
