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

/* The fields of /proc/PID/stat behind the name, which may hold anything: parent, user and system time in ticks. */
static int read_stat(int pid, int *parent, uint64_t *user, uint64_t *system)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file)
        return -errno;
    size_t got = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[got] = '\0';
    const char *after = strrchr(text, ')');
    unsigned long long utime, stime;
    if (!after ||
        sscanf(after + 1, " %*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", parent, &utime, &stime) != 3)
        return -EIO;
    *user = utime;
    *system = stime;
    return 0;
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

static void add_process(int pid, uint64_t user, uint64_t system, struct bench_usage *usage)
{
    double ticks = (double)sysconf(_SC_CLK_TCK);
    usage->user_s += (double)user / ticks;
    usage->system_s += (double)system / ticks;
    add_switches(pid, usage);
}

int bench_usage_of(int pid, struct bench_usage *usage)
{
    int parent;
    uint64_t user, system;
    *usage = (struct bench_usage){0};
    int error = read_stat(pid, &parent, &user, &system);
    if (error < 0)
        return error;
    add_process(pid, user, system, usage);
    DIR *all = opendir("/proc");
    if (!all)
        return -errno;
    for (const struct dirent *entry; (entry = readdir(all));) {
        int other = atoi(entry->d_name);
        if (other > 0 && other != pid && read_stat(other, &parent, &user, &system) == 0 && parent == pid)
            add_process(other, user, system, usage);
    }
    closedir(all);
    return 0;
}
