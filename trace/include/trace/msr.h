/** Model-specific registers (Intel SDM volume 4, table 2-2). Need CPL 0. */
#pragma once

#include <stdint.h>

#define MSR_EFER 0xc0000080u
#define MSR_PAT 0x277u
#define MSR_S_CET 0x6a2u
#define MSR_PKRS 0x6e1u

static inline uint64_t msr_read(uint32_t msr) {
    uint32_t low;
    uint32_t high;
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static inline void msr_write(uint32_t msr, uint64_t value) {
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}
