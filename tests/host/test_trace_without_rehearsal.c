/** The library without its rehearsal, as the one file has it by default: it says so. */
#define CR3SCOPE_NO_REHEARSAL
#include "../../trace/switch.c"
#include "../../trace/switch_request.c"

#include "support/cmocka_test.h"

#include "support/switch_scene.h"

static void rehearsal_that_is_not_there_is_refused_and_nothing_else_is(void **state) {
    (void)state;
    start(4);
    expect(CR3SCOPE_OK, "");
    request.flags |= CR3SCOPE_REHEARSE;
    expect(CR3SCOPE_BAD_FLAGS, "this build has no rehearsal, it lacks CR3SCOPE_REHEARSAL: flags "
                               "are 0x81");
    request.flags &= ~CR3SCOPE_REHEARSE;
    assert_int_equal(cr3scope_rehearse(&request), CR3SCOPE_BAD_FLAGS);
    assert_false(has("rehearse state="));
    finish();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rehearsal_that_is_not_there_is_refused_and_nothing_else_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
