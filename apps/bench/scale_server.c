/* scale_server.c - the server under test: any command that listens on TCP. Where it listens is looked up in /proc, so
 * that it may choose its port itself and need not say so. */
#include "scale.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MS = 10000, STOP_MS = 5000, MAX_WORDS = 256, MAX_SOCKETS = 256 };

static void sleep_ms(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

/* A word in braces of the command, and what comes in its place. */
struct blank {
    const char *name;
    unsigned number;
};
enum { THREADS, PORT, ADMIN, BLANKS };

/* WORD with each blank filled in; to be freed. */
static char *fill_in(const char *word, const struct blank *blanks)
{
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    while (out && *word) {
        unsigned i = 0;
        while (i < BLANKS && strncmp(word, blanks[i].name, strlen(blanks[i].name)) != 0)
            i++;
        if (i < BLANKS) {
            fprintf(out, "%u", blanks[i].number);
            word += strlen(blanks[i].name);
        } else {
            fputc(*word++, out);
        }
    }
    return out && fclose(out) == 0 ? text : NULL;
}

static bool mentions(char *const *command, const char *blank)
{
    for (; *command; command++)
        if (strstr(*command, blank))
            return true;
    return false;
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
        if (strncmp(target, "socket:[", 8) == 0)
            inodes[count++] = strtoul(target + 8, NULL, 10);
    }
    if (fds)
        closedir(fds);
    return count;
}

/* One line of /proc/net/tcp (proc(5)): number, local address, remote address, state, ... , inode the tenth. Returns the
 * port that a listening socket has, 0 for others. */
static unsigned listening_line(char *line, unsigned long *inode)
{
    char *words[10], *save = NULL;
    for (unsigned i = 0; i < rill_array_length(words); i++) {
        words[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
        if (!words[i])
            return 0;
    }
    const char *colon = strrchr(words[1], ':');
    if (!colon || strcmp(words[3], "0A") != 0)
        return 0;
    *inode = strtoul(words[9], NULL, 10);
    return (unsigned)strtoul(colon + 1, NULL, 16);
}

/* The port that SERVER listens on beside its admin port; 0: none yet, or not on that. */
static unsigned listening_port(const struct scale_server *server)
{
    static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
    unsigned long inodes[MAX_SOCKETS], inode = 0;
    unsigned count = sockets_of(server->pid, inodes), found = 0;
    bool has_admin = server->admin_port == 0;
    for (unsigned t = 0; t < rill_array_length(tables); t++) {
        char line[512];
        FILE *table = fopen(tables[t], "r");
        while (table && fgets(line, sizeof line, table)) {
            unsigned port = listening_line(line, &inode), i = 0;
            while (i < count && inodes[i] != inode)
                i++;
            if (port == 0 || i == count)
                continue;
            if (port == server->admin_port)
                has_admin = true;
            else if (found == 0)
                found = port;
        }
        if (table)
            fclose(table);
    }
    return has_admin ? found : 0;
}

__attribute__((noreturn)) static void run_command(char *const *words, const cpu_set_t *cpus)
{
    int nothing = open("/dev/null", O_RDWR);
    dup2(nothing, STDIN_FILENO);
    dup2(nothing, STDOUT_FILENO);
    if (cpus)
        sched_setaffinity(0, sizeof *cpus, cpus);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* no server is left behind, however rill-bench ends */
    execvp(words[0], words);
    fprintf(stderr, "rill-bench: cannot run %s: %s\n", words[0], strerror(errno));
    _exit(127);
}

int scale_server_start(struct scale_server *server, char *const *command, unsigned threads, const cpu_set_t *cpus)
{
    char *words[MAX_WORDS + 1];
    const struct blank blanks[BLANKS] = {
        [THREADS] = {"{threads}", threads}, [PORT] = {"{port}", free_port()}, [ADMIN] = {"{admin}", free_port()}};
    unsigned count = 0;
    for (; count < MAX_WORDS && command[count]; count++)
        words[count] = fill_in(command[count], blanks);
    words[count] = NULL;
    fflush(NULL);
    server->port = 0;
    server->admin_port = mentions(command, "{admin}") ? blanks[ADMIN].number : 0;
    server->pid = words[0] ? fork() : -1;
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
            server->port = listening_port(server);
        }
    }
    if (server->pid > 0 && server->port == 0) {
        fprintf(stderr, "rill-bench: %s listens on no TCP port%s after %d s\n", words[0],
                server->admin_port ? ", or not on {admin}" : "", START_MS / 1000);
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
    char path[300];
    uint64_t fields[STAT_FIELDS];
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *entry; tasks && count < most && (entry = readdir(tasks));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.200s/stat", pid, entry->d_name);
        if (bench_pid_of(entry->d_name) && bench_read_stat(path, fields, STAT_FIELDS) == 0)
            ticks[count++] = fields[STAT_USER] + fields[STAT_SYSTEM];
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
        char path[64];
        uint64_t parent;
        int other = bench_pid_of(entry->d_name);
        snprintf(path, sizeof path, "/proc/%d/stat", other);
        if (other > 0 && other != pid && bench_read_stat(path, &parent, 1) == 0 && parent == (uint64_t)pid)
            count = add_threads(other, ticks, count, most);
    }
    if (all)
        closedir(all);
    qsort(ticks, count, sizeof *ticks, busiest_first);
    return count;
}
