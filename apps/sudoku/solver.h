/* solver.h - solves sudoku. Thread: any, throughout. */
#ifndef RILL_APPS_SUDOKU_SOLVER_H
#define RILL_APPS_SUDOKU_SOLVER_H

#include <stdbool.h>
#include <stdint.h>

#define RILL_SUDOKU_CELLS 81

/* Zero, but for where the search is to stop. */
struct rill_sudoku_search {
    uint64_t max_guesses;            /* 0: no limit */
    bool (*is_cancelled)(void *arg); /* asked at every guess; NULL: never */
    void *arg;
    uint64_t guesses; /* made so far */
};

enum rill_sudoku_result {
    RILL_SUDOKU_SOLVED,
    RILL_SUDOKU_NO_SOLUTION,
    RILL_SUDOKU_GIVEN_UP,  /* cancelled, or the guesses were used up: nobody knows */
    RILL_SUDOKU_MALFORMED, /* something else than 1 to 9, and 0 or '.' where nothing is given */
};

/* Solves PUZZLE, RILL_SUDOKU_CELLS characters, row after row, into SOLUTION, as many digits, which may be PUZZLE
 * itself. Of several solutions it finds one, always the same. SOLUTION is written only when there is one. SEARCH may be
 * NULL. */
enum rill_sudoku_result rill_sudoku_solve(const char *puzzle, char *solution, struct rill_sudoku_search *search);

#endif
