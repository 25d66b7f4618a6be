/* parser_driver.h - feeds bytes to the parser in pieces and writes a trace of what comes out. */
#ifndef RILL_TESTS_SUPPORT_PARSER_DRIVER_H
#define RILL_TESTS_SUPPORT_PARSER_DRIVER_H

#include "rill/http/parser.h"
#include "trace.h"

/* How many bytes come next, with OFFSET of LENGTH there already; at least 1. */
typedef size_t driver_split(void *arg, size_t offset, size_t length);

/* All at once, and one by one. */
driver_split driver_whole;
driver_split driver_bytewise;

/* Feeds the LENGTH bytes at BYTES, split by SPLIT, to a parser for ISA until the request ends or the bytes do, and
 * writes to TRACE what came out. Every piece lies in memory of its own, so that a sanitizer sees each read that goes
 * too far, and so that a parser that remembers an address fails. States the parser passed are added to *VISITED, when
 * that is not NULL: bit TO of VISITED[FROM]. */
void driver_run(enum rill_parser_isa isa, const struct rill_parser_limits *limits, const char *bytes, size_t length,
                driver_split *split, void *arg, uint16_t *visited, struct trace *trace);

/* The same of a response, to HEAD or not; the bytes' end is the connection's. Returns how many bytes the response is
 * long, when another may follow it; else 0. */
size_t driver_run_response(enum rill_parser_isa isa, const struct rill_parser_limits *limits, bool answers_head,
                           const char *bytes, size_t length, driver_split *split, void *arg, struct trace *trace);

/* Pieces of random lengths; ARG is a struct test_random. */
driver_split driver_random;

#endif
