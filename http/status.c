/* status.c - see status.h. */
#include "rill/http/status.h"

/* The IANA registry of HTTP status codes, in full but for 306 (unused) and 418 (unused). */
#define REGISTERED(ENTRY)                                                                                              \
    ENTRY(100, "Continue")                                                                                             \
    ENTRY(101, "Switching Protocols")                                                                                  \
    ENTRY(102, "Processing")                                                                                           \
    ENTRY(103, "Early Hints")                                                                                          \
    ENTRY(104, "Upload Resumption Supported")                                                                          \
    ENTRY(200, "OK")                                                                                                   \
    ENTRY(201, "Created")                                                                                              \
    ENTRY(202, "Accepted")                                                                                             \
    ENTRY(203, "Non-Authoritative Information")                                                                        \
    ENTRY(204, "No Content")                                                                                           \
    ENTRY(205, "Reset Content")                                                                                        \
    ENTRY(206, "Partial Content")                                                                                      \
    ENTRY(207, "Multi-Status")                                                                                         \
    ENTRY(208, "Already Reported")                                                                                     \
    ENTRY(226, "IM Used")                                                                                              \
    ENTRY(300, "Multiple Choices")                                                                                     \
    ENTRY(301, "Moved Permanently")                                                                                    \
    ENTRY(302, "Found")                                                                                                \
    ENTRY(303, "See Other")                                                                                            \
    ENTRY(304, "Not Modified")                                                                                         \
    ENTRY(305, "Use Proxy")                                                                                            \
    ENTRY(307, "Temporary Redirect")                                                                                   \
    ENTRY(308, "Permanent Redirect")                                                                                   \
    ENTRY(400, "Bad Request")                                                                                          \
    ENTRY(401, "Unauthorized")                                                                                         \
    ENTRY(402, "Payment Required")                                                                                     \
    ENTRY(403, "Forbidden")                                                                                            \
    ENTRY(404, "Not Found")                                                                                            \
    ENTRY(405, "Method Not Allowed")                                                                                   \
    ENTRY(406, "Not Acceptable")                                                                                       \
    ENTRY(407, "Proxy Authentication Required")                                                                        \
    ENTRY(408, "Request Timeout")                                                                                      \
    ENTRY(409, "Conflict")                                                                                             \
    ENTRY(410, "Gone")                                                                                                 \
    ENTRY(411, "Length Required")                                                                                      \
    ENTRY(412, "Precondition Failed")                                                                                  \
    ENTRY(413, "Content Too Large")                                                                                    \
    ENTRY(414, "URI Too Long")                                                                                         \
    ENTRY(415, "Unsupported Media Type")                                                                               \
    ENTRY(416, "Range Not Satisfiable")                                                                                \
    ENTRY(417, "Expectation Failed")                                                                                   \
    ENTRY(421, "Misdirected Request")                                                                                  \
    ENTRY(422, "Unprocessable Content")                                                                                \
    ENTRY(423, "Locked")                                                                                               \
    ENTRY(424, "Failed Dependency")                                                                                    \
    ENTRY(425, "Too Early")                                                                                            \
    ENTRY(426, "Upgrade Required")                                                                                     \
    ENTRY(428, "Precondition Required")                                                                                \
    ENTRY(429, "Too Many Requests")                                                                                    \
    ENTRY(431, "Request Header Fields Too Large")                                                                      \
    ENTRY(451, "Unavailable For Legal Reasons")                                                                        \
    ENTRY(500, "Internal Server Error")                                                                                \
    ENTRY(501, "Not Implemented")                                                                                      \
    ENTRY(502, "Bad Gateway")                                                                                          \
    ENTRY(503, "Service Unavailable")                                                                                  \
    ENTRY(504, "Gateway Timeout")                                                                                      \
    ENTRY(505, "HTTP Version Not Supported")                                                                           \
    ENTRY(506, "Variant Also Negotiates")                                                                              \
    ENTRY(507, "Insufficient Storage")                                                                                 \
    ENTRY(508, "Loop Detected")                                                                                        \
    ENTRY(510, "Not Extended")                                                                                         \
    ENTRY(511, "Network Authentication Required")

/* `HTTP/1.1 NNN `, before every reason phrase. */
#define PREFIX_LENGTH 13
#define FIRST_STATUS 100
#define LAST_STATUS 599

#define LINE(code, reason) [(code)-FIRST_STATUS] = {"HTTP/1.1 " #code " " reason "\r\n", sizeof(reason) + 14},
static const struct rill_slice lines[LAST_STATUS - FIRST_STATUS + 1] = {REGISTERED(LINE)};

/* The lines of all codes without a reason, one after the other, so that any code has a line without a buffer. */
#define BARE_LENGTH 15
#define BARE(code) "HTTP/1.1 " #code " \r\n"
#define BARE_TEN(tens)                                                                                                 \
    BARE(tens##0)                                                                                                      \
    BARE(tens##1)                                                                                                      \
    BARE(tens##2) BARE(tens##3) BARE(tens##4) BARE(tens##5) BARE(tens##6) BARE(tens##7) BARE(tens##8) BARE(tens##9)
#define BARE_HUNDRED(hundreds)                                                                                         \
    BARE_TEN(hundreds##0)                                                                                              \
    BARE_TEN(hundreds##1)                                                                                              \
    BARE_TEN(hundreds##2)                                                                                              \
    BARE_TEN(hundreds##3)                                                                                              \
    BARE_TEN(hundreds##4)                                                                                              \
    BARE_TEN(hundreds##5)                                                                                              \
    BARE_TEN(hundreds##6) BARE_TEN(hundreds##7) BARE_TEN(hundreds##8) BARE_TEN(hundreds##9)

static const char bare_lines[5][100 * BARE_LENGTH + 1] = {
    BARE_HUNDRED(1), BARE_HUNDRED(2), BARE_HUNDRED(3), BARE_HUNDRED(4), BARE_HUNDRED(5),
};

struct rill_slice rill_status_reason(unsigned status)
{
    struct rill_slice none = {"", 0};
    if (status < FIRST_STATUS || status > LAST_STATUS || lines[status - FIRST_STATUS].length == 0)
        return none;
    struct rill_slice line = lines[status - FIRST_STATUS];
    struct rill_slice reason = {line.bytes + PREFIX_LENGTH, line.length - PREFIX_LENGTH - 2};
    return reason;
}

struct rill_slice rill_status_line(unsigned status)
{
    if (status < FIRST_STATUS || status > LAST_STATUS)
        status = 500;
    if (lines[status - FIRST_STATUS].length > 0)
        return lines[status - FIRST_STATUS];
    struct rill_slice bare = {bare_lines[status / 100 - 1] + status % 100 * BARE_LENGTH, BARE_LENGTH};
    return bare;
}
