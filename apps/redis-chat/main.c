/* main.c - rill-redis-chat: a chat over several machines, which meet in a Redis. What is said in a room (rooms.h) goes
 * to one of its topics and comes back to everybody, its speaker included, in one order for all. `redis-cli subscribe
 * chat:lobby` listens in, and `redis-cli publish chat:lobby "robot: hello"` takes part. */
#include "rill/apps/options.h"
#include "rooms.h"
#include "users.h"
#include <errno.h>
#include <stdio.h>

static int on_loop_start(struct rill_loop *loop, void *arg)
{
    return rooms_start(loop, arg);
}

static void on_loop_stop(struct rill_loop *loop, void *arg)
{
    rooms_stop(loop);
}

static int parse_redis(void *target, const char *text, const char **wanted)
{
    return rill_addr_parse(text, target, wanted);
}

/* Reads PATH's first line into BUS: from a file, because all users of the machine can read a command line. Returns 0 or
 * a negative errno. */
static int read_password(const char *path, struct rill_bus_config *bus)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    char *got = fgets(bus->password, sizeof bus->password, file);
    int error = ferror(file) ? -errno : 0;
    fclose(file);
    if (error < 0)
        return error;
    size_t length = got ? strcspn(bus->password, "\r\n") : 0;
    if (length == 0 || length == sizeof bus->password - 1)
        return -EINVAL;
    bus->password[length] = '\0';
    return 0;
}

int main(int argc, char **argv)
{
    static struct rill_bus_config bus;
    const char *password_file = NULL;
    const struct rill_option options[] = {
        {"--redis", "ADDR", "HOST:PORT, [V6]:PORT or unix:/PATH of the Redis to meet in (127.0.0.1:6379)",
         RILL_OPTION_CUSTOM, &bus.addr, .parse = parse_redis},
        {"--redis-password-file", "F", "whose first line is the password that it wants (it wants none)",
         RILL_OPTION_TEXT, .target = &password_file},
        {"--redis-user", "NAME", "whose password that is (default)", RILL_OPTION_TEXT, .target = &bus.user},
    };
    struct rill_app app = {.name = "rill-redis-chat",
                           .summary = "rooms for people who talk in lines, on as many machines as share a Redis",
                           .options = options,
                           .option_count = rill_array_length(options),
                           .kind = RILL_APP_SERVER,
                           .default_listen = "127.0.0.1:7020",
                           .server = {.handler = &users_handler,
                                      .arg = &bus,
                                      .output_limit = RILL_OUTPUT_PAUSE,
                                      .on_loop_start = on_loop_start,
                                      .on_loop_stop = on_loop_stop}};
    rill_addr_parse("127.0.0.1:6379", &bus.addr, NULL);
    int status = rill_app_parse(&app, argc, argv);
    if (status >= 0)
        return status;
    int error = password_file ? read_password(password_file, &bus) : 0;
    if (error < 0) {
        fprintf(stderr, "%s: cannot take a password from %s: %s\n", app.name, password_file,
                error == -EINVAL ? "a first line of 1 to 510 bytes is wanted" : strerror(-error));
        return 1;
    }
    if (bus.user && !password_file) {
        fprintf(stderr, "%s: --redis-user wants --redis-password-file, too\n", app.name);
        return 2;
    }
    return rill_app_serve(&app);
}
