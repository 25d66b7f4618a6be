/* reference_parser.h - the same requests and responses, parsed a second time: by code that is slow, simple, written for
 * this purpose alone and shares nothing with the parser, not even a table of characters. */
#ifndef RILL_TESTS_SUPPORT_REFERENCE_PARSER_H
#define RILL_TESTS_SUPPORT_REFERENCE_PARSER_H

#include "rill/http/parser.h"
#include "trace.h"

/* Writes to TRACE what driver_run() would, for the LENGTH bytes at BYTES. */
void reference_parse(const struct rill_parser_limits *limits, const char *bytes, size_t length, struct trace *trace);

/* The same of driver_run_response(). */
size_t reference_parse_response(const struct rill_parser_limits *limits, bool answers_head, const char *bytes,
                                size_t length, struct trace *trace);

#endif
