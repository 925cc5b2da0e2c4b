/** cr3scope.cfg, and the list of faults in it: texts end, values are in range, a refusal says why.
 */
#include <string.h>

#include "config.h"
#include "inject/faults.h"
#include "target.h"

static void check_text(const char *text, size_t room) {
    REQUIRE(memchr(text, '\0', room) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config config;
    struct fault_set faults;
    struct message why = {.length = 0};
    config_defaults(&config);
    bool good = config_parse(&config, (const char *)data, size, &why);
    check_text(config.inject, sizeof(config.inject));
    check_text(config.trace_file, sizeof(config.trace_file));
    check_text(config.kernel, sizeof(config.kernel));
    REQUIRE(config.trace_file[0] != '\0');
    REQUIRE(config.identity_level >= 1 && config.identity_level <= 3);
    REQUIRE(config.flip.level <= 5 && config.flip.bit < 64);
    REQUIRE(config.uart.base != 0 && config.debugcon_port != 0);
    REQUIRE(config.uart.stride != 0 || config.uart.base <= 0xfff8);
    REQUIRE(config.uart.width <= 4 && config.uart.stride <= 8);
    REQUIRE(good || memcmp(why.text, "line ", 5) == 0);
    if (faults_parse(config.inject, &faults, &why)) {
        REQUIRE(faults.count <= FAULTS_AT_ONCE);
        faults_configure(&faults, &config);
    } else {
        REQUIRE(why.length > 0);
    }
    check_text(why.text, sizeof(why.text));
    return 0;
}
