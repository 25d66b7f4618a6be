/* test_log.h - the error log, in a file of the test's own that can be looked into. */
#ifndef RILL_TESTS_SUPPORT_TEST_LOG_H
#define RILL_TESTS_SUPPORT_TEST_LOG_H

/* Lines go to a new file from now on. */
void test_log_open(void);

/* How many of them have TEXT. */
int test_log_lines(const char *text);

/* Removes the file; lines go to standard error again. */
void test_log_close(void);

#endif
