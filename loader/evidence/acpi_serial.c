#include "evidence/acpi_serial.h"

#include <stddef.h>

/* ACPI specification 6.5, 5.2.5.3 (RSDP), 5.2.6 (headers), 5.2.7 and 5.2.8 (RSDT, XSDT). */
#define RSDP_BYTES 20u
#define RSDP_BYTES_2 36u
#define RSDP_REVISION 15u
#define RSDP_RSDT 16u
#define RSDP_XSDT 24u
#define HEADER_BYTES 36u
#define HEADER_LENGTH 4u
#define MOST_TABLE_BYTES 0x10000u
#define MOST_TABLES 256u

/* Microsoft: Serial Port Console Redirection Table (revision 2), Debug Port Table 2. */
#define SPCR_INTERFACE 36u
#define SPCR_ADDRESS 40u
#define SPCR_BYTES 52u
#define DBG2_OFFSET 36u
#define DBG2_COUNT 40u
#define DBG2_BYTES 44u
#define DEVICE_LENGTH 1u
#define DEVICE_TYPE 12u
#define DEVICE_SUBTYPE 14u
#define DEVICE_ADDRESS 18u
#define DEVICE_BYTES 22u
#define TYPE_SERIAL 0x8000u
#define SUBTYPE_16550 0u
#define SUBTYPE_16450 1u
#define SUBTYPE_16550_ADDRESSED 0x12u

/* Generic address structure (ACPI 5.2.3.2). */
#define ADDRESS_SPACE 0u
#define ADDRESS_WIDTH 1u
#define ADDRESS_ACCESS 3u
#define ADDRESS_VALUE 4u
#define ADDRESS_BYTES 12u
#define SPACE_MEMORY 0u
#define SPACE_PORTS 1u

#define LAST_PORT UINT64_C(0xfff8)

struct table {
    const uint8_t *bytes;
    uint64_t count;
};

static uint64_t number(const uint8_t *bytes, size_t count) {
    uint64_t value = 0;
    while (count-- > 0) {
        value = value << 8 | bytes[count];
    }
    return value;
}

static bool sums_to_zero(const uint8_t *bytes, uint64_t count) {
    uint8_t sum = 0;
    for (uint64_t i = 0; i < count; i++) {
        sum = (uint8_t)(sum + bytes[i]);
    }
    return sum == 0;
}

static bool is_named(const uint8_t *bytes, const char *name, size_t count) {
    return __builtin_memcmp(bytes, name, count) == 0;
}

static bool refuse(struct message *why, const char *table, const char *what) {
    message_start(why, "ACPI table ");
    message_name(why, table, 4);
    message_text(why, ": ");
    message_text(why, what);
    return false;
}

static const uint8_t *at(const struct acpi_memory *memory, uint64_t phys, uint64_t count) {
    return phys > UINT64_MAX - count ? NULL : memory->at(memory->context, phys, count);
}

/* A whole table, by its own length and checksum. */
static bool read_table(const struct acpi_memory *memory, uint64_t phys, const char *name,
                       struct table *table_ret, struct message *why) {
    const uint8_t *header = at(memory, phys, HEADER_BYTES);
    if (header == NULL) {
        return refuse(why, name, "it does not lie in memory");
    }
    uint64_t count = number(header + HEADER_LENGTH, 4);
    if (count < HEADER_BYTES || count > MOST_TABLE_BYTES) {
        return refuse(why, name, "a length that no such table has");
    }
    const uint8_t *bytes = at(memory, phys, count);
    if (bytes == NULL) {
        return refuse(why, name, "its end does not lie in memory");
    }
    if (!sums_to_zero(bytes, count)) {
        return refuse(why, name, "its checksum is wrong");
    }
    *table_ret = (struct table){bytes, count};
    return true;
}

/* The list of tables; *entry_bytes_ret: of an address in it. */
static bool read_root(const struct acpi_memory *memory, uint64_t rsdp, struct table *root_ret,
                      size_t *entry_bytes_ret, struct message *why) {
    const uint8_t *pointer = at(memory, rsdp, RSDP_BYTES);
    if (pointer == NULL || !is_named(pointer, "RSD PTR ", 8) ||
        !sums_to_zero(pointer, RSDP_BYTES)) {
        return refuse(why, "RSDP", "no root pointer is there");
    }
    if (pointer[RSDP_REVISION] < 2) {
        *entry_bytes_ret = 4;
        return read_table(memory, number(pointer + RSDP_RSDT, 4), "RSDT", root_ret, why);
    }
    pointer = at(memory, rsdp, RSDP_BYTES_2);
    if (pointer == NULL || !sums_to_zero(pointer, RSDP_BYTES_2)) {
        return refuse(why, "RSDP", "its checksum is wrong");
    }
    *entry_bytes_ret = 8;
    return read_table(memory, number(pointer + RSDP_XSDT, 8), "XSDT", root_ret, why);
}

/* The table of that name: false if the list has none, and `why` is untouched then. */
static bool find_table(const struct acpi_memory *memory, const struct table *root,
                       size_t entry_bytes, const char *name, uint64_t *phys_ret) {
    uint64_t count = (root->count - HEADER_BYTES) / entry_bytes;
    for (uint64_t i = 0; i < count && i < MOST_TABLES; i++) {
        uint64_t phys = number(root->bytes + HEADER_BYTES + i * entry_bytes, entry_bytes);
        const uint8_t *header = at(memory, phys, HEADER_BYTES);
        if (header != NULL && is_named(header, name, 4)) {
            *phys_ret = phys;
            return true;
        }
    }
    return false;
}

/* Of a 16550 whose registers are this structure's: a width of the access tells their distance. */
static bool read_address(const uint8_t *address, const char *name, struct uart_place *place_ret,
                         struct message *why) {
    uint64_t base = number(address + ADDRESS_VALUE, 8);
    unsigned access = address[ADDRESS_ACCESS];
    unsigned bits = access >= 1 && access <= 4 ? 4u << access : address[ADDRESS_WIDTH];
    if (base == 0) {
        return refuse(why, name, "its port is turned off: address 0");
    }
    if (address[ADDRESS_SPACE] == SPACE_PORTS) {
        if (base > LAST_PORT) {
            return refuse(why, name, "an I/O port that there is none of");
        }
        *place_ret = (struct uart_place){.base = base, .keep_line = true};
        return true;
    }
    if (address[ADDRESS_SPACE] != SPACE_MEMORY) {
        return refuse(why, name, "a port that is neither in memory nor an I/O port");
    }
    if (bits != 8 && bits != 32) {
        return refuse(why, name, "registers that are accessed by neither 8 nor 32 bits");
    }
    bool wide = bits == 32 || address[ADDRESS_WIDTH] == 32;
    if (base % (bits / 8) != 0 || base > UINT64_MAX - 64) {
        return refuse(why, name, "an address that no register can have");
    }
    *place_ret = (struct uart_place){
        .base = base, .stride = wide ? 4 : 1, .width = (uint8_t)(bits / 8), .keep_line = true};
    return true;
}

static bool is_16550(uint64_t subtype) {
    return subtype == SUBTYPE_16550 || subtype == SUBTYPE_16450 ||
           subtype == SUBTYPE_16550_ADDRESSED;
}

static bool read_spcr(const struct table *spcr, struct uart_place *place_ret, struct message *why) {
    if (spcr->count < SPCR_BYTES) {
        return refuse(why, "SPCR", "too short");
    }
    if (!is_16550(spcr->bytes[SPCR_INTERFACE])) {
        return refuse(why, "SPCR", "its port is no 16550");
    }
    return read_address(spcr->bytes + SPCR_ADDRESS, "SPCR", place_ret, why);
}

static bool read_dbg2(const struct table *dbg2, struct uart_place *place_ret, struct message *why) {
    if (dbg2->count < DBG2_BYTES) {
        return refuse(why, "DBG2", "too short");
    }
    uint64_t offset = number(dbg2->bytes + DBG2_OFFSET, 4);
    uint64_t count = number(dbg2->bytes + DBG2_COUNT, 4);
    for (uint64_t i = 0; i < count; i++) {
        if (offset > dbg2->count || dbg2->count - offset < DEVICE_BYTES) {
            return refuse(why, "DBG2", "a port's entry that does not lie in it");
        }
        const uint8_t *device = dbg2->bytes + offset;
        uint64_t length = number(device + DEVICE_LENGTH, 2);
        uint64_t address = number(device + DEVICE_ADDRESS, 2);
        if (length < DEVICE_BYTES || length > dbg2->count - offset) {
            return refuse(why, "DBG2", "a port's entry with a length that does not fit");
        }
        if (number(device + DEVICE_TYPE, 2) == TYPE_SERIAL &&
            is_16550(number(device + DEVICE_SUBTYPE, 2))) {
            if (address > length || length - address < ADDRESS_BYTES) {
                return refuse(why, "DBG2", "a port's address that does not lie in its entry");
            }
            return read_address(device + address, "DBG2", place_ret, why);
        }
        offset += length;
    }
    return refuse(why, "DBG2", "it names no 16550");
}

enum acpi_serial acpi_serial_find(const struct acpi_memory *memory, uint64_t rsdp,
                                  struct uart_place *place_ret, struct message *why) {
    struct table root;
    struct table table;
    size_t entry_bytes;
    uint64_t phys;
    if (rsdp == 0) {
        message_start(why, "the firmware has no ACPI tables");
        return ACPI_SERIAL_ABSENT;
    }
    if (!read_root(memory, rsdp, &root, &entry_bytes, why)) {
        return ACPI_SERIAL_REFUSED;
    }
    bool has_spcr = find_table(memory, &root, entry_bytes, "SPCR", &phys);
    if (has_spcr && read_table(memory, phys, "SPCR", &table, why) &&
        read_spcr(&table, place_ret, why)) {
        return ACPI_SERIAL_FOUND;
    }
    if (find_table(memory, &root, entry_bytes, "DBG2", &phys)) {
        return read_table(memory, phys, "DBG2", &table, why) && read_dbg2(&table, place_ret, why)
                   ? ACPI_SERIAL_FOUND
                   : ACPI_SERIAL_REFUSED;
    }
    if (has_spcr) {
        return ACPI_SERIAL_REFUSED;
    }
    message_start(why, "no ACPI table names one: no SPCR, no DBG2");
    return ACPI_SERIAL_ABSENT;
}
