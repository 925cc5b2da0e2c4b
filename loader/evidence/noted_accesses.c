#include "evidence/noted_accesses.h"

/* False if the access does not happen on this machine. */
static bool resolve(const struct noted_places *places, const struct handoff_access *access,
                    uint64_t *virt_ret) {
    uint64_t offset = (uint64_t)access->offset;
    switch (access->base) {
    case HANDOFF_BASE_ABSOLUTE:
        *virt_ret = offset;
        return true;
    case HANDOFF_BASE_INFO:
        *virt_ret = places->info + offset;
        return true;
    case HANDOFF_BASE_STACK:
        *virt_ret = places->stack_top - 8 + offset;
        return true;
    case HANDOFF_BASE_INITRD:
        *virt_ret = places->initrd + offset;
        return true;
    case HANDOFF_BASE_MEMORY_MAP:
        *virt_ret = places->memory_map + offset;
        return true;
    case HANDOFF_BASE_FRAMEBUFFER:
        *virt_ret = places->framebuffer + offset;
        return places->framebuffer_bytes != 0;
    case HANDOFF_BASE_FRAMEBUFFER_END:
        *virt_ret = places->framebuffer + places->framebuffer_bytes + offset;
        return places->framebuffer_bytes != 0;
    default:
        return false;
    }
}

static void add(struct noted_accesses *noted, const struct handoff_access *access, uint64_t virt) {
    if (noted->count == CR3SCOPE_MOST_ACCESSES) {
        return;
    }
    bool aligned = access->kind == HANDOFF_WRITE_ALIGNED;
    char *name = noted->names[noted->count];
    __builtin_memcpy(name, access->name, sizeof(access->name));
    name[NOTED_NAME_BYTES - 1] = '\0';
    noted->accesses[noted->count++] = (struct cr3scope_access){
        .name = name,
        .kind = aligned ? CR3SCOPE_WRITES : (enum cr3scope_kind)access->kind,
        .virt = virt,
        .width = access->width,
        .align = aligned ? access->width : 0,
        .rip = access->rip,
    };
}

void noted_accesses_read(struct noted_accesses *noted_ret, const struct noted_places *places,
                         const struct elf_image *kernel) {
    size_t cursor = 0;
    struct handoff_access access;
    noted_ret->count = 0;
    while (elf_next_access(kernel, &cursor, &access)) {
        uint64_t virt;
        bool aligned = access.kind == HANDOFF_WRITE_ALIGNED;
        bool usable = access.kind <= HANDOFF_WRITE_ALIGNED && access.width > 0 &&
                      access.width <= HANDOFF_MAX_ACCESS_BYTES &&
                      (!aligned || (access.width & (access.width - 1)) == 0);
        if (usable && resolve(places, &access, &virt)) {
            add(noted_ret, &access, virt);
        }
    }
}
