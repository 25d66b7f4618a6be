/* test_log.c - see test_log.h. */
#include "test_log.h"
#include "must.h"
#include "rill/core/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[] = "/tmp/rill-test-log-XXXXXX";

void test_log_open(void)
{
    memset(strchr(path, '\0') - 6, 'X', 6);
    int fd = mkstemp(path);
    MUST(fd >= 0);
    close(fd);
    MUST(rill_log_open(path) == 0);
}

int test_log_lines(const char *text)
{
    char line[4096];
    int count = 0;
    FILE *file = fopen(path, "r");
    MUST(file);
    while (fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    fclose(file);
    return count;
}

void test_log_close(void)
{
    MUST(rill_log_open(NULL) == 0);
    unlink(path);
}
