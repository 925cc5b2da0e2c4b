/** Bits of CR0, CR4, EFER and RFLAGS that matter here (Intel SDM volume 3A, sections 2.2-2.5). */
#pragma once

#include <stdint.h>

#define CR0_PROTECTION (UINT64_C(1) << 0)
#define CR0_EMULATION (UINT64_C(1) << 2)
#define CR0_TASK_SWITCHED (UINT64_C(1) << 3)
#define CR0_WRITE_PROTECT (UINT64_C(1) << 16)
#define CR0_PAGING (UINT64_C(1) << 31)

#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define CR4_CET (UINT64_C(1) << 23)
#define CR4_PKS (UINT64_C(1) << 24)

#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)

#define RFLAGS_IF (UINT64_C(1) << 9)
