/* bench_parser.c - how fast request heads are parsed, by each ISA that this CPU has.
 *
 *   bench_parser [iterations]      CPU time, of the best of fifty rounds
 *   bench_parser count REQUEST N [ISA]   parse one request (0: wrk's, 1: a browser's) N times and print nothing; for
 *                                  valgrind --tool=callgrind, which counts instructions
 *
 * Configured with -DPICOHTTPPARSER_DIR=<a checkout of picohttpparser>, that parser is measured beside ours, in the same
 * rounds. It checks less: a line may end with a bare LF there, and no field means anything to it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rill/http/parser.h"

#ifdef RILL_BENCH_PICOHTTPPARSER
#include "picohttpparser.h"
#endif

static const struct request {
    const char *name;
    const char *text;
} requests[] = {
    {"wrk", "GET / HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n\r\n"},
    {"browser", "GET /articles/2024/reactors-and-timing-wheels.html?from=front&page=2 HTTP/1.1\r\n"
                "Host: www.example.org\r\n"
                "Connection: keep-alive\r\n"
                "Cache-Control: max-age=0\r\n"
                "sec-ch-ua: \"Chromium\";v=\"124\", \"Google Chrome\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\n"
                "sec-ch-ua-mobile: ?0\r\n"
                "sec-ch-ua-platform: \"Linux\"\r\n"
                "Upgrade-Insecure-Requests: 1\r\n"
                "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
                "Chrome/124.0.0.0 Safari/537.36\r\n"
                "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
                "Sec-Fetch-Site: none\r\n"
                "Sec-Fetch-Mode: navigate\r\n"
                "Accept-Encoding: gzip, deflate, br, zstd\r\n"
                "Accept-Language: en-US,en;q=0.9\r\n\r\n"},
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const struct rill_parser_limits limits = RILL_PARSER_LIMITS_DEFAULT;
static struct rill_parser parser;

/* The bytes, hidden from the optimiser, so that no round is left out or moved. */
static const char *hidden(const char *bytes)
{
    __asm__ volatile("" : "+r"(bytes) : : "memory");
    return bytes;
}

static void parse(const char *bytes, size_t length, long count)
{
    for (long i = 0; i < count; i++) {
        rill_parser_reset(&parser);
        if (rill_parser_head(&parser, hidden(bytes), length) != RILL_PARSE_HEAD) {
            fprintf(stderr, "bench_parser: refused: %s\n", parser.reason != NULL ? parser.reason : "incomplete");
            exit(1);
        }
    }
}

#ifdef RILL_BENCH_PICOHTTPPARSER
static void parse_pico(const char *bytes, size_t length, long count)
{
    for (long i = 0; i < count; i++) {
        const char *method, *path;
        size_t method_length, path_length;
        int minor_version;
        struct phr_header headers[RILL_PARSER_MAX_HEADERS];
        size_t header_count = RILL_PARSER_MAX_HEADERS;
        if (phr_parse_request(hidden(bytes), length, &method, &method_length, &path, &path_length, &minor_version,
                              headers, &header_count, 0) != (int)length) {
            fprintf(stderr, "bench_parser: refused by picohttpparser\n");
            exit(1);
        }
    }
}
#endif

/* A row a parser: 0 to RILL_PARSER_ISA_COUNT - 1 is ours, RILL_PARSER_ISA_COUNT picohttpparser. False when absent. */
static bool run(int row, const char *bytes, size_t length, long count)
{
    if (row < RILL_PARSER_ISA_COUNT) {
        if (rill_parser_use(&parser, (enum rill_parser_isa)row) != 0)
            return false;
        parse(bytes, length, count);
        return true;
    }
#ifdef RILL_BENCH_PICOHTTPPARSER
    parse_pico(bytes, length, count);
    return true;
#else
    return false;
#endif
}

/* Many and short, so that some are undisturbed by whatever else the machine does. */
#define ROUNDS 50

static void measure(const struct request *request, long count)
{
    double best_ns[RILL_PARSER_ISA_COUNT + 1] = {0};
    size_t length = strlen(request->text);
    for (int round = 0; round < ROUNDS; round++) {
        for (int row = 0; row <= RILL_PARSER_ISA_COUNT; row++) {
            uint64_t start = now_ns();
            if (!run(row, request->text, length, count))
                continue;
            double ns = (double)(now_ns() - start) / (double)count;
            if (best_ns[row] <= 0 || ns < best_ns[row])
                best_ns[row] = ns;
        }
    }
    printf("%s request, %zu bytes\n", request->name, length);
    double pico_ns = best_ns[RILL_PARSER_ISA_COUNT];
    for (int row = 0; row <= RILL_PARSER_ISA_COUNT; row++) {
        if (best_ns[row] <= 0)
            continue;
        const char *name =
            row < RILL_PARSER_ISA_COUNT ? rill_parser_isa_name((enum rill_parser_isa)row) : "picohttpparser";
        printf("  %-15s %7.1f ns  %6.2f GB/s", name, best_ns[row], (double)length / best_ns[row]);
        if (pico_ns > 0)
            printf("  %5.2f x picohttpparser's speed", pico_ns / best_ns[row]);
        printf("\n");
    }
}

int main(int argc, char **argv)
{
    rill_parser_init(&parser, &limits);
    if (argc >= 4 && strcmp(argv[1], "count") == 0) {
        if (argc > 4 && rill_parser_use(&parser, (enum rill_parser_isa)atoi(argv[4])) != 0)
            return 1;
        const struct request *request = &requests[atoi(argv[2]) != 0];
        parse(request->text, strlen(request->text), atol(argv[3]));
        return 0;
    }
    long count = argc > 1 ? atol(argv[1]) : 20000;
    for (size_t i = 0; i < rill_array_length(requests); i++)
        measure(&requests[i], count);
    return 0;
}
