/* Faults on a range that is about to be mapped: left out, cut short, or with other rights. */
#include "address_space.h"
#include "fault_actions.h"
#include "text.h"
#include "trace/paging.h"

static bool has_role(const struct mapping *mapping, const char *role) {
    return text_equals(mapping->role, text_length(mapping->role), role);
}

static bool without_right(struct mapping *mapping, const char *role, unsigned right) {
    if (has_role(mapping, role)) {
        mapping->rights &= ~right;
    }
    return true;
}

/* A range of one page is then left out. */
static bool without_last_page(struct mapping *mapping, const char *role) {
    if (has_role(mapping, role)) {
        mapping->bytes -= PAGE_BYTES;
    }
    return mapping->bytes > 0;
}

bool drop_trampoline(struct mapping *mapping) {
    return !has_role(mapping, "trampoline");
}

bool drop_text(struct mapping *mapping) {
    return !has_role(mapping, "text");
}

bool drop_rodata(struct mapping *mapping) {
    return !has_role(mapping, "rodata");
}

bool drop_data(struct mapping *mapping) {
    return !has_role(mapping, "data");
}

bool drop_last_text_page(struct mapping *mapping) {
    return without_last_page(mapping, "text");
}

bool drop_stacks(struct mapping *mapping) {
    return !has_role(mapping, "stack");
}

bool drop_boot_info(struct mapping *mapping) {
    return !has_role(mapping, "boot-info");
}

bool drop_memory_map(struct mapping *mapping) {
    return !has_role(mapping, "memory-map");
}

bool drop_initrd(struct mapping *mapping) {
    return !has_role(mapping, "initrd");
}

bool drop_framebuffer(struct mapping *mapping) {
    return !has_role(mapping, "framebuffer");
}

bool drop_end_of_framebuffer(struct mapping *mapping) {
    return without_last_page(mapping, "framebuffer");
}

bool drop_idt(struct mapping *mapping) {
    return !has_role(mapping, "idt");
}

bool text_without_execute(struct mapping *mapping) {
    return without_right(mapping, "text", RIGHT_EXECUTE);
}

bool stacks_without_write(struct mapping *mapping) {
    return without_right(mapping, "stack", RIGHT_WRITE);
}

bool framebuffer_without_write(struct mapping *mapping) {
    return without_right(mapping, "framebuffer", RIGHT_WRITE);
}
