/* SPDX-License-Identifier: Apache-2.0 */
/* main() of every Check program: SUITE is defined by CMake from the file's name. Check's own time limit for a test, 4 s, is
 * too short for a server under a sanitizer on a busy machine; a test that hangs still ends. */
#include <check.h>
#include <stdlib.h>

Suite *SUITE(void);

int main(void)
{
    setenv("CK_DEFAULT_TIMEOUT", "120", 0);
    SRunner *runner = srunner_create(SUITE());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
