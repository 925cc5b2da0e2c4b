/* `make faults`: the rows of the loader's fault table, one a line, tab-separated: what inject=
 * takes, what is done, the rule that must name it, what the machine does, and how it shows on TCG.
 */
#include <stdio.h>

#include "inject/faults.h"

static const char *const shows[] = {
    [SHOWS_FAULT] = "fault",         [SHOWS_CHECK] = "check", [SHOWS_RUNS] = "runs",
    [SHOWS_HANG] = "hang",           [SHOWS_EARLY] = "early", [SHOWS_DIVERGES] = "diverges",
    [SHOWS_OTHER_CPU] = "other-cpu",
};

int main(void) {
    for (size_t i = 0; i < fault_table_count; i++) {
        const struct fault *fault = &fault_table[i];
        const char *colon = fault->variant[0] != '\0' ? ":" : "";
        printf("%s%s%s\t%s\t%s\t%s\t%s\n", fault->id, colon, fault->variant, fault->description,
               fault->id, fault->outcome, shows[fault->shows]);
    }
    return 0;
}
