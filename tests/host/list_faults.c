/* `make faults`: the rows of the loader's fault table, one a line, tab-separated. */
#include <stdio.h>

#include "faults.h"

int main(void) {
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault *fault = &fault_table[i];
        const char *colon = fault->variant[0] != '\0' ? ":" : "";
        printf("%s%s%s\t%s\t%s\t%s\n", fault->id, colon, fault->variant, fault->description,
               fault->rule, fault->outcome);
    }
    return 0;
}
