#include "space/mapping.h"

#include "boot.h"
#include "handoff/ap_start.h"
#include "handoff/switch_buffer.h"
#include "own_image.h"
#include "trace/control_registers.h"
#include "trace/crc32.h"

#define STACK_GUARD_BYTES PAGE_BYTES
#define STACK_USABLE_BYTES (UINT64_C(16) << 10)
#define FOUR_GIB (UINT64_C(4) << 30)
/* Tables for a dozen ranges of their own, two or three each, with room. */
#define POOL_BASE_PAGES 64u
#define FINAL_MAP_PAGES 8u

static uint64_t round_up(uint64_t value) {
    return (value + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
}

/* A macro, not a function: the caller's address in the trace must be that of the line that asks. */
#define MAP(boot, ...)                                                                             \
    (address_space_map(&(boot)->space, &(struct mapping){__VA_ARGS__}, &(boot)->why) ||            \
     boot_refuse(boot, "mapping"))

static bool map_kernel(struct boot *boot) {
    uint64_t mapped_to = boot->kernel.first_page;
    for (size_t i = 0; i < boot->kernel.segment_count; i++) {
        const struct elf64_segment *segment = &boot->kernel.segments[i];
        bool execute = (segment->flags & SEGMENT_EXECUTE) != 0;
        bool write = (segment->flags & SEGMENT_WRITE) != 0;
        uint64_t first = segment->vaddr & ~(PAGE_BYTES - 1);
        uint64_t last = (segment->vaddr + segment->memsz - 1) | (PAGE_BYTES - 1);
        /* A neighbour of equal rights may have mapped the shared page already. */
        first = first < mapped_to ? mapped_to : first;
        if (first > last) {
            continue;
        }
        if (!MAP(boot,
                 .name = execute ? "kernel text"
                         : write ? "kernel data"
                                 : "kernel rodata",
                 .role = execute ? "text"
                         : write ? "data"
                                 : "rodata",
                 .virt = first, .bytes = last - first + 1,
                 .phys = boot->kernel_phys + (first - boot->kernel.first_page),
                 .rights =
                     RIGHT_READ | (write ? RIGHT_WRITE : 0) | (execute ? RIGHT_EXECUTE : 0))) {
            return false;
        }
        mapped_to = last + 1;
    }
    return true;
}

static bool map_stacks(struct boot *boot) {
    struct handoff_stacks *stacks = &boot->info->stacks;
    uint64_t phys;
    stacks->virt = HANDOFF_STACKS_VIRT;
    stacks->guard_bytes = STACK_GUARD_BYTES;
    stacks->usable_bytes = STACK_USABLE_BYTES;
    stacks->stride = STACK_GUARD_BYTES + STACK_USABLE_BYTES;
    if (!boot->pages.allocate(boot->pages.context, "the stacks",
                              boot->cpu_count * STACK_USABLE_BYTES / PAGE_BYTES, &phys,
                              &boot->why)) {
        return boot_refuse(boot, "stacks");
    }
    stacks->phys = phys;
    for (uint32_t i = 0; i < boot->cpu_count; i++) {
        uint64_t guard = stacks->virt + i * stacks->stride;
        struct message name;
        message_start(&name, "stack ");
        message_decimal(&name, i);
        if (!MAP(boot, .name = name.text, .role = "stack", .virt = guard + STACK_GUARD_BYTES,
                 .bytes = STACK_USABLE_BYTES, .phys = phys + i * STACK_USABLE_BYTES,
                 .rights = RIGHT_READ | RIGHT_WRITE)) {
            return false;
        }
        message_text(&name, " guard");
        address_space_region(&boot->space, name.text, "guard", guard, STACK_GUARD_BYTES);
    }
    return true;
}

/* Boot info, memory map, tables and initrd follow each other, an unmapped page between them. */
static bool map_boot_info(struct boot *boot) {
    struct handoff *info = boot->info;
    uint64_t virt = HANDOFF_INFO_VIRT;
    info->self = (struct handoff_range){virt, (uint64_t)info, PAGE_BYTES};
    if (!MAP(boot, .name = "boot info", .role = "boot-info", .virt = virt, .bytes = PAGE_BYTES,
             .phys = (uint64_t)info, .rights = RIGHT_READ)) {
        return false;
    }
    virt += 2 * PAGE_BYTES;
    info->memory_map = (struct handoff_range){virt, (uint64_t)boot->final_map.descriptors,
                                              boot->final_map_capacity};
    if (!MAP(boot, .name = "memory map", .role = "memory-map", .virt = virt,
             .bytes = boot->final_map_capacity, .phys = info->memory_map.phys,
             .rights = RIGHT_READ)) {
        return false;
    }
    virt += info->memory_map.bytes + PAGE_BYTES;
    info->tables =
        (struct handoff_range){virt, boot->space.pool_phys, boot->space.pool_pages * PAGE_BYTES};
    if (!MAP(boot, .name = "page tables", .role = "tables", .virt = virt,
             .bytes = info->tables.bytes, .phys = info->tables.phys, .rights = RIGHT_READ)) {
        return false;
    }
    virt += info->tables.bytes + PAGE_BYTES;
    info->initrd = (struct handoff_range){virt, (uint64_t)boot->initrd.bytes, boot->initrd.count};
    info->initrd_crc = crc32_update(0, boot->initrd.bytes, boot->initrd.count);
    return MAP(boot, .name = "initrd", .role = "initrd", .virt = virt,
               .bytes = round_up(info->initrd.bytes), .phys = info->initrd.phys,
               .rights = RIGHT_READ);
}

static bool map_framebuffer(struct boot *boot) {
    struct handoff_framebuffer *framebuffer = &boot->info->framebuffer;
    *framebuffer = boot->framebuffer;
    if (framebuffer->range.bytes == 0) {
        return true;
    }
    /* Equal offsets within 2 MiB, so that large pages fit. */
    uint64_t offset = framebuffer->range.phys & (LARGE_PAGE_BYTES - 1);
    framebuffer->range.virt = HANDOFF_FRAMEBUFFER_VIRT + offset;
    uint64_t first = framebuffer->range.phys & ~(PAGE_BYTES - 1);
    uint64_t end = round_up(framebuffer->range.phys + framebuffer->range.bytes);
    return MAP(boot, .name = "frame buffer", .role = "framebuffer",
               .virt = HANDOFF_FRAMEBUFFER_VIRT + (first & (LARGE_PAGE_BYTES - 1)),
               .bytes = end - first, .phys = first, .rights = RIGHT_READ | RIGHT_WRITE,
               .type = MEMORY_WRITE_COMBINING, .largest_level = 2);
}

/* A part of the loader's image, from..to, at its own address. Empty parts are no error. */
#define MAP_IMAGE_PART(boot, part, part_role, from, to, part_rights)                               \
    ((from) >= (to) || MAP(boot, .name = part, .role = part_role, .virt = (from),                  \
                           .bytes = (to) - (from), .phys = (from), .rights = (part_rights)))

static bool map_loader_text(struct boot *boot) {
    uint64_t text = (uint64_t)own_text;
    uint64_t trampoline = (uint64_t)own_switch;
    uint64_t after = (uint64_t)own_switch_end;
    uint64_t end = round_up((uint64_t)own_text_end);
    return MAP_IMAGE_PART(boot, "loader text", "loader", text, trampoline,
                          RIGHT_READ | RIGHT_EXECUTE) &&
           MAP_IMAGE_PART(boot, "handoff code", "trampoline", trampoline, after,
                          RIGHT_READ | RIGHT_EXECUTE) &&
           MAP_IMAGE_PART(boot, "loader text", "loader", after, end, RIGHT_READ | RIGHT_EXECUTE);
}

/* The block below 1 MiB, at its own address: its code turns paging on. Its data are no code. */
static bool map_start_block(struct boot *boot) {
    struct handoff_start *start = &boot->info->start;
    ap_start_allocate(boot);
    if (start->code.bytes == 0) {
        return true;
    }
    return MAP(boot, .name = "AP code", .role = "ap-code", .virt = start->code.virt,
               .bytes = start->code.bytes, .phys = start->code.phys,
               .rights = RIGHT_READ | RIGHT_EXECUTE) &&
           MAP(boot, .name = "AP data", .role = "ap-data", .virt = start->data.virt,
               .bytes = start->data.bytes, .phys = start->data.phys,
               .rights = RIGHT_READ | RIGHT_WRITE) &&
           (start->local_apic.bytes == 0 ||
            MAP(boot, .name = "local APIC", .role = "local-apic", .virt = start->local_apic.virt,
                .bytes = start->local_apic.bytes, .phys = start->local_apic.phys,
                .rights = RIGHT_READ | RIGHT_WRITE, .type = MEMORY_UNCACHED_MINUS));
}

static uint64_t image_end(const struct boot *boot) {
    return boot->image.base + round_up(boot->image.bytes);
}

static bool map_loader_data(struct boot *boot) {
    uint64_t constants = (uint64_t)own_constants;
    uint64_t data = (uint64_t)own_constants_end;
    uint64_t own = switch_buffer_first_page();
    uint64_t after = own + SAFE_TABLES_PAGES * PAGE_BYTES;
    return MAP_IMAGE_PART(boot, "loader constants", "loader", constants, data, RIGHT_READ) &&
           MAP_IMAGE_PART(boot, "loader data", "loader", data, own, RIGHT_READ | RIGHT_WRITE) &&
           MAP_IMAGE_PART(boot, "safe IDT", "idt", own, own + PAGE_BYTES,
                          RIGHT_READ | RIGHT_WRITE) &&
           MAP_IMAGE_PART(boot, "GDT and TSS", "gdt", own + PAGE_BYTES, after,
                          RIGHT_READ | RIGHT_WRITE) &&
           MAP_IMAGE_PART(boot, "loader data", "loader", after, image_end(boot),
                          RIGHT_READ | RIGHT_WRITE);
}

static uint64_t identity_end(struct boot *boot) {
    uint64_t end =
        (memory_map_end(&boot->firmware_map) + LARGE_PAGE_BYTES - 1) & ~(LARGE_PAGE_BYTES - 1);
    /* Single pages for what is no memory would be tables without end. */
    return end > FOUR_GIB || boot->config.identity_level == 1 ? end : FOUR_GIB;
}

static bool map_identity_part(struct boot *boot, const char *name, uint64_t from, uint64_t to) {
    return from >= to ||
           MAP(boot, .name = name, .role = "identity", .virt = from, .bytes = to - from,
               .phys = from, .rights = RIGHT_READ | RIGHT_WRITE | RIGHT_EXECUTE,
               .largest_level = boot->config.identity_level);
}

/* The loader's image, and the block of the other CPUs, keep their own rights; a full identity map
 * is that and everything around it. */
static bool map_identity(struct boot *boot) {
    const struct handoff_start *start = &boot->info->start;
    uint64_t block = start->code.bytes != 0 ? start->code.phys : 0;
    uint64_t block_end = start->code.bytes != 0 ? start->data.phys + start->data.bytes : 0;
    if (!map_loader_text(boot) || !map_loader_data(boot)) {
        return false;
    }
    return !boot->config.identity_full ||
           (map_identity_part(boot, "identity map, low", 0, block) &&
            map_identity_part(boot, "identity map, below", block_end, (uint64_t)own_text) &&
            map_identity_part(boot, "identity map, above", image_end(boot), identity_end(boot)));
}

/* Upper bound of the tables that all ranges together need. */
static uint64_t pool_pages(struct boot *boot) {
    uint64_t mapped = boot->kernel.last_page - boot->kernel.first_page + boot->initrd.count +
                      boot->framebuffer.range.bytes +
                      boot->cpu_count * (STACK_GUARD_BYTES + STACK_USABLE_BYTES);
    uint64_t identity = boot->config.identity_full ? identity_end(boot) : 0;
    uint64_t page_tables = boot->config.identity_level == 1 ? identity / LARGE_PAGE_BYTES : 0;
    return POOL_BASE_PAGES + mapped / LARGE_PAGE_BYTES + (identity >> 30) + page_tables;
}

/* The lowest-numbered PAT entry above 3 is ours: the firmware's tables do not set the PAT bit. */
static void choose_write_combining(struct boot *boot) {
    if ((boot->cpu.features & CPU_PAT) != 0) {
        boot->space.write_combining = 4;
        boot->planned.pat = (boot->planned.pat & ~(UINT64_C(0xff) << 32)) | UINT64_C(1) << 32;
    }
}

static bool allocate_final_map(struct boot *boot) {
    uint64_t phys;
    if (!boot->pages.allocate(boot->pages.context, "the final memory map", FINAL_MAP_PAGES, &phys,
                              &boot->why)) {
        return boot_refuse(boot, "memory map");
    }
    boot->final_map.descriptors = (const uint8_t *)(uintptr_t)phys;
    boot->final_map_capacity = FINAL_MAP_PAGES * PAGE_BYTES;
    return true;
}

/* Other CPUs load CR3 in 32-bit code: only where there is no memory below 4 GiB they have to do
 * without. */
static bool allocate_pool(struct boot *boot, uint64_t pages, uint64_t *pool_ret) {
    const struct page_source *source = &boot->pages;
    return source->allocate_below(source->context, "the page tables", pages, FOUR_GIB, pool_ret,
                                  &boot->why) ||
           source->allocate(source->context, "the page tables", pages, pool_ret, &boot->why);
}

bool mapping_build(struct boot *boot) {
    unsigned levels = boot_levels(boot);
    levels = boot->config.misdeeds.other_depth ? 9 - levels : levels; /* 4 or 5 */
    uint64_t pages = pool_pages(boot);
    uint64_t pool;
    boot->planned = boot->cpu;
    boot->space.trace = &boot->trace;
    boot->space.has_no_execute = (boot->cpu.features & CPU_NX) != 0;
    choose_write_combining(boot);
    if (!allocate_pool(boot, pages, &pool)) {
        return boot_refuse(boot, "page tables");
    }
    if (!allocate_final_map(boot)) {
        return false;
    }
    if (!address_space_create(&boot->space, levels, pool, pages, &boot->why)) {
        return boot_refuse(boot, "page tables");
    }
    return map_kernel(boot) && map_stacks(boot) && map_boot_info(boot) && map_framebuffer(boot) &&
           map_start_block(boot) && map_identity(boot);
}
