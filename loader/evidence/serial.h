/** The serial port: the one that was asked for, else the first that answers. */
#pragma once

#include "trace/message.h"

struct boot;

/**
 * Adds it to the trace, if any answers within a bounded time. Why one that was asked for, or that a
 * table names, is not used stands in boot->serial_remark. After boot->cpu, firmware_map, rsdp_phys.
 */
void serial_open(struct boot *boot);
/** As serial= of cr3scope.cfg would name the one that is used; "none". */
void serial_name(const struct boot *boot, struct message *name_ret);
/** Closes the firmware's service, which ends with it, if that carries the trace. */
void serial_leave_firmware(struct boot *boot);
