#include "cpu.h"

#include <stdlib.h>
#include <string.h>

#include "file.h"
#include "moments.h"

struct cpu *cpus[MOST_CPUS];
bool cpu_is_alone;

struct cpu *cpu_new(unsigned int number) {
    if (number >= MOST_CPUS) {
        file_flag(FLAG_CPUS);
        return NULL;
    }
    struct cpu *cpu = calloc(1, sizeof(*cpu));
    file_lock();
    while (cpu != NULL &&
           file_header->counts[SECTION_TRAILS] <= number) { /* CPUs come in any order */
        if (file_append(SECTION_TRAILS) == 0) {
            free(cpu);
            cpu = NULL;
        }
    }
    file_unlock();
    if (cpu != NULL) {
        cpu->number = number;
        cpu->trail = file_trail(number + 1);
        cpu->last = cpu->trail->ring;
        cpu->stores_left = MOMENT_STORES;
        cpus[number] = cpu;
    }
    return cpu;
}

void cpu_forget(struct cpu *cpu) {
    memset(cpu->translations, 0, sizeof(cpu->translations));
}
