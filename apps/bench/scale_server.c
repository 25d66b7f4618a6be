/* scale_server.c - the server under test: any command that listens on TCP. Where it listens is looked up in /proc, so
 * that it may choose its port itself and need not say so. */
#include "scale.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 10000, STOP_MS = 5000, MAX_WORDS = 256, MAX_SOCKETS = 256 };

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* WORD with each {threads} and {port} replaced; to be freed. */
static char *fill_in(const char *word, unsigned threads, unsigned port)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    while (out && *word) {
        if (strncmp(word, "{threads}", 9) == 0) {
            fprintf(out, "%u", threads);
            word += 9;
        } else if (strncmp(word, "{port}", 6) == 0) {
            fprintf(out, "%u", port);
            word += 6;
        } else {
            fputc(*word++, out);
        }
    }
    return out && fclose(out) == 0 ? text : NULL;
}

static unsigned free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool found = fd >= 0 && bind(fd, (struct sockaddr *)&at, sizeof at) == 0 &&
                 getsockname(fd, (struct sockaddr *)&at, &length) == 0;
    if (fd >= 0)
        close(fd);
    return found ? ntohs(at.sin_port) : 0;
}

/* The inodes of PID's sockets. */
static unsigned sockets_of(int pid, unsigned long *inodes)
{
    char path[300], target[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *fds = opendir(path);
    for (const struct dirent *entry; fds && count < MAX_SOCKETS && (entry = readdir(fds));) {
        snprintf(path, sizeof path, "/proc/%d/fd/%.200s", pid, entry->d_name);
        ssize_t got = readlink(path, target, sizeof target - 1);
        target[got > 0 ? got : 0] = '\0';
        if (sscanf(target, "socket:[%lu]", &inodes[count]) == 1)
            count++;
    }
    if (fds)
        closedir(fds);
    return count;
}

/* The port that PID listens on; 0: none yet. */
static unsigned listening_port(int pid)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    unsigned long inodes[MAX_SOCKETS], inode;
    unsigned count = sockets_of(pid, inodes), port, state, found = 0;
    for (unsigned t = 0; t < rill_array_length(tables) && found == 0; t++) {
        char line[512];
        FILE *table = fopen(tables[t], "r");
        while (table && found == 0 && fgets(line, sizeof line, table)) {
            if (sscanf(line, " %*d: %*[0-9A-F]:%x %*[0-9A-F]:%*x %x %*x:%*x %*x:%*x %*x %*u %*u %lu", &port, &state,
                       &inode) != 3 ||
                state != 0x0a)
                continue;
            for (unsigned i = 0; i < count; i++)
                if (inodes[i] == inode)
                    found = port;
        }
        if (table)
            fclose(table);
    }
    return found;
}

static void run_command(char *const *words, const cpu_set_t *cpus)
{
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, STDIN_FILENO);
    dup2(nothing, STDOUT_FILENO);
    if (cpus)
        sched_setaffinity(0, sizeof *cpus, cpus);
    setpgid(0, 0);
    execvp(words[0], words);
    fprintf(stderr, "rill-bench: cannot run %s: %s\n", words[0], strerror(errno));
    _exit(127);
}

int scale_server_start(struct scale_server *server, char *const *command, unsigned threads, const cpu_set_t *cpus)
{
    char *words[MAX_WORDS + 1];
    unsigned count = 0, port = free_port();
    for (; count < MAX_WORDS && command[count]; count++)
        words[count] = fill_in(command[count], threads, port);
    words[count] = NULL;
    fflush(NULL);
    server->port = 0;
    server->pid = fork();
    if (server->pid == 0)
        run_command(words, cpus);
    for (unsigned waited = 0; server->pid > 0 && waited < START_MS && server->port == 0; waited += 10) {
        int status;
        sleep_ms(10);
        if (waitpid(server->pid, &status, WNOHANG) == server->pid) {
            fprintf(stderr, "rill-bench: %s ended before it listened (status %d)\n", words[0],
                    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
            server->pid = -1;
        } else {
            server->port = listening_port(server->pid);
        }
    }
    if (server->pid > 0 && server->port == 0) {
        fprintf(stderr, "rill-bench: %s listens on no TCP port after %d s\n", words[0], START_MS / 1000);
        scale_server_stop(server);
    }
    for (unsigned i = 0; i < count; i++)
        free(words[i]);
    return server->port ? 0 : -1;
}

void scale_server_stop(struct scale_server *server)
{
    if (server->pid <= 0)
        return;
    kill(server->pid, SIGTERM);
    for (unsigned waited = 0; waited < STOP_MS; waited += 10) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid) {
            server->pid = -1;
            return;
        }
        sleep_ms(10);
    }
    kill(-server->pid, SIGKILL);
    waitpid(server->pid, NULL, 0);
    server->pid = -1;
}

static int busiest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

static unsigned add_threads(int pid, uint64_t *ticks, unsigned count, unsigned most)
{
    char path[300], text[1024];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *entry; tasks && count < most && (entry = readdir(tasks));) {
        unsigned long long user, system;
        snprintf(path, sizeof path, "/proc/%d/task/%.200s/stat", pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file)
            continue;
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
        const char *after = strrchr(text, ')');
        if (after && sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2)
            ticks[count++] = user + system;
    }
    if (tasks)
        closedir(tasks);
    return count;
}

unsigned scale_server_threads(int pid, uint64_t *ticks, unsigned most)
{
    unsigned count = add_threads(pid, ticks, 0, most);
    DIR *all = opendir("/proc");
    for (const struct dirent *entry; all && (entry = readdir(all));) {
        char path[64], text[512];
        int other = atoi(entry->d_name), parent = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", other);
        FILE *file = other > 0 && other != pid ? fopen(path, "r") : NULL;
        if (!file)
            continue;
        text[fread(text, 1, sizeof text - 1, file)] = '\0';
        fclose(file);
        const char *after = strrchr(text, ')');
        if (after && sscanf(after + 1, " %*c %d", &parent) == 1 && parent == pid)
            count = add_threads(other, ticks, count, most);
    }
    if (all)
        closedir(all);
    qsort(ticks, count, sizeof *ticks, busiest_first);
    return count;
}
