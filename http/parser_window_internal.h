/* parser_window_internal.h - scans that remember, for the ISAs that look at sixty-four bytes about as fast as at a few.
 *
 * The head is looked at in steps of sixty-four bytes, each once for all that its lines ask; after that a scan is a
 * shift and a count of zeroes. No step waits for what was found in the one before, so that a CPU overlaps them. No
 * include guard, for the reason given in parser_head_internal.h; the includer has defined
 *
 *   look_at(p, end, token_stops, value_stops)   a bit for each of the next sixty-four bytes from P on that stops a scan
 *                                               for a token or a value; bits from END on are set */

struct head_window {
    const char *next; /* the window ends here, and has looked at the sixty-four bytes before */
    const char *end;
    uint64_t token_stops;
    uint64_t value_stops;
};

static inline struct head_window head_window_open(const char *start, const char *end)
{
    return (struct head_window){start, end, 0, 0};
}

/* The bits of STOPS from P on, which is in the window. */
static inline uint64_t head_window_ahead(const struct head_window *window, uint64_t stops, const char *p)
{
    return stops >> ((unsigned)(p - window->next) & 63);
}

/* Moves the window on so that P, which is behind it, is in it: by one step, or to P when P lies farther ahead. */
static inline void head_window_move(struct head_window *window, const char *p)
{
    const char *start = RILL_LIKELY(p - window->next < 64) ? window->next : p;
    look_at(start, window->end, &window->token_stops, &window->value_stops);
    window->next = start + 64;
}

/* The first stop from P on, which is behind the window. */
static __attribute__((noinline)) const char *scan_token_farther(struct head_window *window, const char *p)
{
    while (p != window->end) {
        head_window_move(window, p);
        uint64_t ahead = head_window_ahead(window, window->token_stops, p);
        if (RILL_LIKELY(ahead != 0))
            return p + __builtin_ctzll(ahead);
        p = window->next;
    }
    return p;
}

static __attribute__((noinline)) const char *scan_value_farther(struct head_window *window, const char *p)
{
    while (p != window->end) {
        head_window_move(window, p);
        uint64_t ahead = head_window_ahead(window, window->value_stops, p);
        if (RILL_LIKELY(ahead != 0))
            return p + __builtin_ctzll(ahead);
        p = window->next;
    }
    return p;
}

static inline __attribute__((always_inline)) const char *scan_token(struct head_window *window, const char *p)
{
    if (RILL_LIKELY(p < window->next)) {
        uint64_t ahead = head_window_ahead(window, window->token_stops, p);
        if (RILL_LIKELY(ahead != 0))
            return p + __builtin_ctzll(ahead);
        p = window->next;
    }
    return scan_token_farther(window, p);
}

static inline __attribute__((always_inline)) const char *scan_value(struct head_window *window, const char *p)
{
    if (RILL_LIKELY(p < window->next)) {
        uint64_t ahead = head_window_ahead(window, window->value_stops, p);
        if (RILL_LIKELY(ahead != 0))
            return p + __builtin_ctzll(ahead);
        p = window->next;
    }
    return scan_value_farther(window, p);
}
