/* server_proc.c - what /proc says of the server: a process and its children, for servers of several processes. */
#include "bench.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Adds up lines "NAME: NUMBER" of a status file. */
static uint64_t status_field(const char *path, const char *name)
{
    char line[256];
    uint64_t value = 0;
    FILE *file = fopen(path, "r");
    if (!file)
        return 0;
    while (fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            value += strtoull(line + strlen(name), NULL, 10);
    fclose(file);
    return value;
}

int bench_pid_of(const char *name)
{
    char *end;
    long pid = strtol(name, &end, 10);
    return end != name && *end == '\0' && pid > 0 && pid <= INT32_MAX ? (int)pid : 0;
}

int bench_read_stat(const char *path, uint64_t *fields, unsigned count)
{
    char text[1024];
    FILE *file = fopen(path, "r");
    if (!file)
        return -errno;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    char *at = strrchr(text, ')'); /* the name may hold anything, brackets too */
    if (!at || strlen(at) < 4)
        return -EIO;
    at += 3; /* the state */
    for (unsigned i = 0; i < count; i++) {
        char *end;
        fields[i] = (uint64_t)strtoll(at, &end, 10);
        if (end == at)
            return -EIO;
        at = end;
    }
    return 0;
}

static int read_process(int pid, uint64_t fields[STAT_FIELDS])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    return bench_read_stat(path, fields, STAT_FIELDS);
}

static void add_switches(int pid, struct bench_usage *usage)
{
    char path[64], task[384];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks)
        return;
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(task, sizeof task, "%s/%s/status", path, entry->d_name);
        usage->switches +=
            status_field(task, "voluntary_ctxt_switches:") + status_field(task, "nonvoluntary_ctxt_switches:");
    }
    closedir(tasks);
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    usage->peak_bytes += status_field(path, "VmHWM:") * 1024;
}

static void add_process(int pid, const uint64_t fields[STAT_FIELDS], struct bench_usage *usage)
{
    double ticks = (double)sysconf(_SC_CLK_TCK);
    usage->user_s += (double)fields[STAT_USER] / ticks;
    usage->system_s += (double)fields[STAT_SYSTEM] / ticks;
    add_switches(pid, usage);
}

int bench_usage_of(int pid, struct bench_usage *usage)
{
    uint64_t fields[STAT_FIELDS] = {0};
    *usage = (struct bench_usage){0};
    int error = read_process(pid, fields);
    if (error < 0)
        return error;
    add_process(pid, fields, usage);
    DIR *all = opendir("/proc");
    if (!all)
        return -errno;
    for (const struct dirent *entry; (entry = readdir(all));) {
        int other = bench_pid_of(entry->d_name);
        if (other > 0 && other != pid && read_process(other, fields) == 0 && fields[STAT_PARENT] == (uint64_t)pid)
            add_process(other, fields, usage);
    }
    closedir(all);
    return 0;
}
