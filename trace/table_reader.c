#include "table_reader.h"

#include "trace/paging.h"

/* The tables in force are readable wherever the caller says that physical memory is. */
static const uint64_t *trusted_table(void *context, uint64_t phys) {
    const struct table_reader *reader = (const struct table_reader *)context;
    const struct cr3scope_request *request = reader->request;
    if (request->read != NULL) {
        return request->read(request->read_context, phys);
    }
    return (const uint64_t *)(uintptr_t)(request->physical_offset + phys);
}

static bool is_stray(const struct table_reader *reader, uint64_t phys) {
    for (size_t i = 0; i < reader->stray_count; i++) {
        if (reader->strays[i] == phys) {
            return true;
        }
    }
    return false;
}

bool table_reader_owns(const struct table_reader *reader, uint64_t phys) {
    return phys >= reader->request->pool_phys &&
           phys - reader->request->pool_phys < reader->request->pool_bytes;
}

static bool allows(struct table_reader *reader, enum access_kind kind, uint64_t virt,
                   uint64_t bytes, uint64_t *phys_ret) {
    struct physical_memory memory;
    struct access access;
    struct access_fault fault;
    memory.table = trusted_table;
    memory.context = reader;
    access.virt = virt;
    access.width = bytes;
    access.kind = kind;
    access.align = 0;
    return access_check(&reader->current, &memory, &access, phys_ret, &fault);
}

bool table_reader_reaches(struct table_reader *reader, uint64_t virt, uint64_t bytes,
                          uint64_t *phys_ret) {
    return allows(reader, ACCESS_READ, virt, bytes, phys_ret);
}

bool table_reader_takes(struct table_reader *reader, uint64_t virt, uint64_t bytes) {
    return allows(reader, ACCESS_WRITE, virt, bytes, NULL);
}

static const uint64_t *readable_table(void *context, uint64_t phys) {
    struct table_reader *reader = (struct table_reader *)context;
    bool is_known = table_reader_owns(reader, phys) || is_stray(reader, phys);
    if (reader->notes && !is_known && reader->stray_count < TABLE_READER_STRAYS) {
        reader->strays[reader->stray_count++] = phys;
    }
    if (reader->known_only && !is_known) {
        return NULL;
    }
    if (reader->request->read == NULL &&
        !table_reader_reaches(reader, reader->request->physical_offset + phys, PAGE_BYTES, NULL)) {
        return NULL;
    }
    return trusted_table(reader, phys);
}

void table_reader_init(struct table_reader *reader_ret, const struct cr3scope_request *request,
                       const struct paging_state *current) {
    reader_ret->request = request;
    reader_ret->current = *current;
    reader_ret->stray_count = 0;
    reader_ret->notes = false;
    reader_ret->known_only = false;
}

struct physical_memory table_reader_memory(struct table_reader *reader) {
    struct physical_memory memory;
    memory.table = readable_table;
    memory.context = reader;
    return memory;
}
