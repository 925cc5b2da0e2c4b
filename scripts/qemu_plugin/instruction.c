#include "instruction.h"

#include <stdbool.h>

enum { REX_R = 4 }; /* the highest bit of ModRM's register, Intel SDM volume 2, 2.2.1.2 */

static bool is_prefix(uint8_t byte) {
    switch (byte) {
    case 0x26: /* segments */
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66: /* sizes */
    case 0x67:
    case 0xf0: /* lock and repeat */
    case 0xf2:
    case 0xf3:
        return true;
    default:
        return false;
    }
}

/* The last bytes of an instruction, as a signed number. */
static int64_t offset_at(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    size_t i;

    for (i = 0; i < size; i++) {
        value |= (uint64_t)bytes[i] << (8 * i);
    }
    if (size > 0 && size < 8 && (bytes[size - 1] & 0x80) != 0) {
        value |= UINT64_MAX << (8 * size);
    }
    return (int64_t)value;
}

static struct meaning jump(const uint8_t *bytes, size_t size) {
    struct meaning found = {FLOW_JUMP, EVENT_NONE, 0};

    if (size == 1 || size == 2 || size == 4) {
        found.offset = offset_at(bytes, size);
    } else {
        found.flow = FLOW_INDIRECT;
    }
    return found;
}

static struct meaning event(enum event_kind kind) {
    return (struct meaning){FLOW_OTHER, kind, 0};
}

/* 0F xx: MOV to CRn, WRMSR, the descriptor-table registers, near conditional jumps. */
static struct meaning two_bytes(const uint8_t *bytes, size_t size, uint8_t rex) {
    static const enum event_kind tables[8] = {
        [2] = EVENT_LGDT, [3] = EVENT_LIDT, [7] = EVENT_TRANSLATION};
    static const enum event_kind control[16] = {
        [0] = EVENT_CR0, [3] = EVENT_CR3, [4] = EVENT_CR4, [8] = EVENT_CR8};
    const uint8_t modrm = size > 1 ? bytes[1] : 0;
    const unsigned reg = modrm >> 3 & 7;

    if (bytes[0] >= 0x80 && bytes[0] <= 0x8f) {
        return jump(bytes + 1, size - 1);
    }
    switch (bytes[0]) {
    case 0x30:
        return event(EVENT_WRMSR);
    case 0x22:
        return event(control[reg | (rex & REX_R) << 1]);
    case 0x00:
        return event(reg == 3 ? EVENT_LTR : reg == 2 ? EVENT_LLDT : EVENT_NONE);
    case 0x01:
        if (reg == 6) {
            return event(EVENT_LMSW);
        }
        return event(modrm >> 6 == 3 ? EVENT_NONE : tables[reg]); /* 0F 01 C0 and on are others */
    case 0x38:                                                    /* 66 0F 38 82: INVPCID */
        return event(modrm == 0x82 ? EVENT_TRANSLATION : EVENT_NONE);
    case 0xaa: /* RSM */
        return (struct meaning){FLOW_INDIRECT, EVENT_TRANSLATION, 0};
    case 0x05: /* SYSCALL, SYSRET, SYSENTER, SYSEXIT */
    case 0x07:
    case 0x34:
    case 0x35:
        return (struct meaning){FLOW_INDIRECT, EVENT_NONE, 0};
    default:
        return event(EVENT_NONE);
    }
}

struct meaning instruction_meaning(const uint8_t *bytes, size_t size) {
    static const struct meaning groups[8] = {
        [2] = {FLOW_CALL, EVENT_NONE, 0},
        [3] = {FLOW_CALL, EVENT_FAR_CALL, 0},
        [4] = {FLOW_INDIRECT, EVENT_NONE, 0},
        [5] = {FLOW_INDIRECT, EVENT_FAR_JUMP, 0},
    };
    uint8_t rex = 0;
    size_t at = 0;

    while (at + 1 < size && is_prefix(bytes[at])) {
        at++;
    }
    /* 40h to 4Fh alone is INC or DEC of 16 and 32 bits; in front of more it is REX. */
    if (at + 1 < size && (bytes[at] & 0xf0) == 0x40) {
        rex = bytes[at];
        at++;
    }
    if (at >= size) {
        return event(EVENT_NONE);
    }
    const uint8_t opcode = bytes[at];
    const uint8_t *rest = bytes + at + 1;
    const size_t left = size - at - 1;

    if ((opcode >= 0x70 && opcode <= 0x7f) || (opcode >= 0xe0 && opcode <= 0xe3) ||
        opcode == 0xe9 || opcode == 0xeb) {
        return jump(rest, left);
    }
    switch (opcode) {
    case 0x0f:
        return left > 0 ? two_bytes(rest, left, rex) : event(EVENT_NONE);
    case 0x9a:
        return (struct meaning){FLOW_CALL, EVENT_FAR_CALL, 0};
    case 0xe8:
        return (struct meaning){FLOW_CALL, EVENT_NONE, 0};
    case 0xea:
        return (struct meaning){FLOW_INDIRECT, EVENT_FAR_JUMP, 0};
    case 0xc2:
    case 0xc3:
        return (struct meaning){FLOW_RETURN, EVENT_NONE, 0};
    case 0xca:
    case 0xcb:
        return (struct meaning){FLOW_RETURN, EVENT_FAR_RETURN, 0};
    case 0xcf:
        return (struct meaning){FLOW_INTERRUPT_RETURN, EVENT_NONE, 0};
    case 0xff:
        return left > 0 ? groups[rest[0] >> 3 & 7] : event(EVENT_NONE);
    default:
        return event(EVENT_NONE);
    }
}
