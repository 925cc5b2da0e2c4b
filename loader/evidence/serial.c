#include "evidence/serial.h"

#include "boot.h"
#include "evidence/acpi_serial.h"
#include "evidence/pci_serial.h"
#include "trace/paging.h"

/* Configuration mechanism 1 (PCI Local Bus Specification 3.0, 3.2.2.3.2). */
#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define UART_REGISTERS 8u

static uint32_t read_config(void *context, uint32_t address) {
    uint32_t value;
    (void)context;
    __asm__ volatile("outl %0, %1" : : "a"(address), "Nd"((uint16_t)CONFIG_ADDRESS));
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"((uint16_t)CONFIG_DATA));
    return value;
}

static void write_config(void *context, uint32_t address, uint32_t value) {
    (void)context;
    __asm__ volatile("outl %0, %1" : : "a"(address), "Nd"((uint16_t)CONFIG_ADDRESS));
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"((uint16_t)CONFIG_DATA));
}

static const uint8_t *table_bytes(const void *context, uint64_t phys, uint64_t count) {
    const struct memory_map *map = context;
    for (uint64_t page = phys & ~(PAGE_BYTES - 1); page < phys + count; page += PAGE_BYTES) {
        if (!memory_map_is_ram(map, page)) {
            return NULL;
        }
    }
    return (const uint8_t *)(uintptr_t)phys;
}

static void remark(struct boot *boot, const char *what, const char *why) {
    if (boot->serial_remark.text[0] == '\0') { /* the first one matters most */
        message_start(&boot->serial_remark, "cr3scope: serial port ");
        message_text(&boot->serial_remark, what);
        message_text(&boot->serial_remark, ": ");
        message_text(&boot->serial_remark, why);
    }
}

/* Whether each register can be written where it is, under the tables in force. */
static bool is_mapped(struct boot *boot, const struct uart_place *place) {
    const struct physical_memory memory = {boot_table, boot};
    struct paging_state state;
    const struct access access = {.virt = place->base,
                                  .width = (uint64_t)place->stride * UART_REGISTERS,
                                  .kind = ACCESS_WRITE};
    struct access_fault fault;
    uint64_t phys;
    cpu_paging_state(&boot->cpu, &state);
    return access_check(&state, &memory, &access, &phys, &fault) && phys == place->base;
}

/* Looking for registers there would write over what memory holds. */
static bool is_memory(const struct boot *boot, const struct uart_place *place) {
    uint64_t last = place->base + (uint64_t)place->stride * UART_REGISTERS - 1;
    return memory_map_is_ram(&boot->firmware_map, place->base) ||
           memory_map_is_ram(&boot->firmware_map, last);
}

/* `what` names it in a remark; NULL: nobody asked for it, so nothing is said if it does not answer.
 */
static bool use(struct boot *boot, const char *what, const struct uart_place *place) {
    const char *why = "nothing answers there";
    if (place->stride != 0 && is_memory(boot, place)) {
        why = "memory lies there, and no registers";
    } else if (place->stride != 0 && !is_mapped(boot, place)) {
        why = "the firmware has not mapped its registers";
    } else if (uart_sink_init_at(&boot->uart, place)) {
        boot->has_uart = trace_add_sink(&boot->trace, &boot->uart.sink);
        return boot->has_uart;
    }
    if (what != NULL) {
        remark(boot, what, why);
    }
    return false;
}

static bool use_acpis(struct boot *boot, bool is_asked_for) {
    const struct acpi_memory memory = {table_bytes, &boot->firmware_map};
    struct uart_place place;
    struct message why;
    enum acpi_serial found = acpi_serial_find(&memory, boot->rsdp_phys, &place, &why);
    if (found == ACPI_SERIAL_FOUND) {
        return use(boot, "that ACPI names", &place);
    }
    if (is_asked_for || found == ACPI_SERIAL_REFUSED) {
        remark(boot, "that ACPI names", why.text);
    }
    return false;
}

static bool use_pcis(struct boot *boot, bool is_asked_for) {
    const struct pci_config config = {read_config, write_config, NULL};
    struct uart_place place;
    if (pci_serial_find(&config, &place)) {
        return use(boot, "on PCI", &place);
    }
    if (is_asked_for) {
        remark(boot, "on PCI", "there is none");
    }
    return false;
}

static bool use_firmwares(struct boot *boot, bool is_asked_for) {
    if (boot->firmware_serial.write != NULL) {
        boot->has_firmware_serial = trace_add_sink(&boot->trace, &boot->firmware_serial);
    } else if (is_asked_for) {
        remark(boot, "of the firmware", "it has none");
    }
    return boot->has_firmware_serial;
}

void serial_open(struct boot *boot) {
    switch (boot->config.serial) {
    case CONFIG_SERIAL_AUTO: /* what the firmware names is wired; a COM1 may be there without a plug
                              */
        (void)(use_acpis(boot, false) || use(boot, NULL, &boot->config.uart) ||
               use_pcis(boot, false) || use_firmwares(boot, false));
        return;
    case CONFIG_SERIAL_GIVEN:
        (void)use(boot, "that cr3scope.cfg names", &boot->config.uart);
        return;
    case CONFIG_SERIAL_SPCR:
        (void)use_acpis(boot, true);
        return;
    case CONFIG_SERIAL_PCI:
        (void)use_pcis(boot, true);
        return;
    case CONFIG_SERIAL_EFI:
        (void)use_firmwares(boot, true);
        return;
    }
}

void serial_name(const struct boot *boot, struct message *name_ret) {
    const struct uart_place *place = &boot->uart.place;
    if (!boot->has_uart) {
        message_start(name_ret, boot->has_firmware_serial ? "efi" : "none");
        return;
    }
    message_start(name_ret, place->stride == 0 ? "io:" : "mmio:");
    message_hex(name_ret, place->base);
    if (place->stride > 1) {
        message_text(name_ret, ":");
        message_decimal(name_ret, place->stride);
    }
}

void serial_leave_firmware(struct boot *boot) {
    if (boot->has_firmware_serial) {
        trace_close_sink(&boot->trace, &boot->firmware_serial);
        boot->has_firmware_serial = false;
    }
}
