/* replay_main.c - main() of a fuzz target without its fuzzer: every file of the folders named on the command line is
 * its input once, so that what was found once stays found. */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>

/* Mutators are linked, and not called: inputs are taken as they are. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
    (void)data;
    (void)size;
    (void)max;
    abort();
}

static void replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    size_t size = 0, room = 1 << 20, got;
    uint8_t *data = malloc(room);
    MUST(file && data);
    while ((got = fread(data + size, 1, room - size, file)) > 0)
        size += got;
    MUST(!ferror(file) && size < room);
    fclose(file);
    uint8_t *exact = realloc(data, size ? size : 1); /* so that reading too far is seen */
    MUST(exact);
    fprintf(stderr, "%s\n", path);
    MUST(LLVMFuzzerTestOneInput(exact, size) == 0);
    free(exact);
}

static unsigned replay_folder(const char *path)
{
    char name[4096];
    unsigned count = 0;
    DIR *folder = opendir(path);
    if (!folder) {
        fprintf(stderr, "replay: cannot read %s: %s\n", path, strerror(errno));
        exit(1);
    }
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        replay(name);
        count++;
    }
    closedir(folder);
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++)
        count += replay_folder(argv[i]);
    printf("%u inputs replayed\n", count);
    return count == 0; /* an empty corpus shows nothing */
}
