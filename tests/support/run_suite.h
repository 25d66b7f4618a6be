/* run_suite.h - the end of every Check program's main(). */
#ifndef RILL_TESTS_SUPPORT_RUN_SUITE_H
#define RILL_TESTS_SUPPORT_RUN_SUITE_H

#include <check.h>

/* Runs SUITE, which is freed, as loudly as CK_VERBOSITY says. Returns the exit status. */
static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}

#endif
