/** The firmware's memory map as the kernel judges it: a stride and lengths of any kind. */
#include "../../../kernel/memory_map.h"
#include "take.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct take take = {data, size};
    struct text detail;
    uint32_t stride = (uint32_t)take_number(&take, 1);
    struct memory_owned one = {"one", take_number(&take, 8), take_number(&take, 8)};
    struct memory_owned other = {"other", take_number(&take, 8), take_number(&take, 8)};
    const struct memory_map map = {take.bytes, take.left, stride};
    text_init(&detail);
    if (memory_map_is_sane(&map, &detail)) {
        (void)memory_map_keeps(&map, &one, &detail);
    } else {
        REQUIRE(detail.length > 0);
    }
    REQUIRE(memory_owned_overlap(&one, &other) == memory_owned_overlap(&other, &one));
    return 0;
}
