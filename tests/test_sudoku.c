/* test_sudoku.c - the solver of rill-sudoku: known puzzles, puzzles without a solution, text that is no puzzle, the
 * limits of a search, and random puzzles that a plain search decides as well. */
#include "rill/apps/sudoku/solver.h"
#include "support/random.h"
#include "support/run_suite.h"
#include <check.h>
#include <string.h>

enum { CELLS = RILL_SUDOKU_CELLS };

/* --- what is a solution --- */

static bool same_unit(unsigned a, unsigned b)
{
    return a / 9 == b / 9 || a % 9 == b % 9 || (a / 27 == b / 27 && a % 9 / 3 == b % 9 / 3);
}

static bool is_given(char c)
{
    return c != '0' && c != '.';
}

static bool is_solution(const char *puzzle, const char *solution)
{
    for (unsigned a = 0; a < CELLS; a++) {
        if (solution[a] < '1' || solution[a] > '9' || (is_given(puzzle[a]) && solution[a] != puzzle[a]))
            return false;
        for (unsigned b = 0; b < a; b++)
            if (same_unit(a, b) && solution[a] == solution[b])
                return false;
    }
    return true;
}

static const struct {
    const char *puzzle, *solution;
} known[] = {
    /* easy */
    {"53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79",
     "534678912672195348198342567859761423426853791713924856961537284287419635345286179"},
    /* 17 digits, the fewest that a puzzle with one solution can have */
    {"000000010400000000020000000000050407008000300001090000300400200050100000000806000",
     "693784512487512936125963874932651487568247391741398625319475268856129743274836159"},
    /* hard for people */
    {"8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4..",
     "812753649943682175675491283154237896369845721287169534521974368438526917796318452"},
    /* hard for a search in the order of the cells: its first row is 987654321 */
    {"..............3.85..1.2.......5.7.....4...1...9.......5......73..2.1........4...9",
     "987654321246173985351928746128537694634892157795461832519286473472319568863745219"},
};

/* Takes minutes without a limit: it has no solution, and many ways to look for one. */
static const char endless[] = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4.........";

START_TEST(known_puzzles)
{
    char solution[CELLS + 1] = {0}, other[CELLS + 1];
    ck_assert_int_eq(rill_sudoku_solve(known[_i].puzzle, solution, NULL), RILL_SUDOKU_SOLVED);
    ck_assert_str_eq(solution, known[_i].solution);
    ck_assert(is_solution(known[_i].puzzle, solution));
    /* The other sign for an empty cell, and in place. */
    strcpy(other, known[_i].puzzle);
    for (unsigned i = 0; i < CELLS; i++)
        other[i] = other[i] == '.' ? '0' : other[i] == '0' ? '.' : other[i];
    ck_assert_int_eq(rill_sudoku_solve(other, other, NULL), RILL_SUDOKU_SOLVED);
    ck_assert_str_eq(other, known[_i].solution);
    /* What is solved already. */
    ck_assert_int_eq(rill_sudoku_solve(solution, solution, NULL), RILL_SUDOKU_SOLVED);
    ck_assert_str_eq(solution, known[_i].solution);
}
END_TEST

START_TEST(one_of_many_solutions)
{
    char puzzle[CELLS], first[CELLS], again[CELLS];
    memset(puzzle, '0', sizeof puzzle);
    ck_assert_int_eq(rill_sudoku_solve(puzzle, first, NULL), RILL_SUDOKU_SOLVED);
    ck_assert(is_solution(puzzle, first));
    ck_assert_int_eq(rill_sudoku_solve(puzzle, again, NULL), RILL_SUDOKU_SOLVED);
    ck_assert_mem_eq(first, again, CELLS);
}
END_TEST

START_TEST(no_solution)
{
    static const char *const puzzles[] = {
        /* twice in a row, a column, a box */
        "11...............................................................................",
        "1........1.......................................................................",
        "1.........1......................................................................",
        /* a cell in which nothing can stand */
        "12345678.........9...............................................................",
        "1234.............5........6........7........8........9...........................",
        /* a digit that has no place in the first row */
        ".......231...........1....................1......................................",
    };
    char solution[CELLS + 1] = {0};
    ck_assert_int_eq(rill_sudoku_solve(puzzles[_i], solution, NULL), RILL_SUDOKU_NO_SOLUTION);
    ck_assert_str_eq(solution, ""); /* untouched */
}
END_TEST

START_TEST(a_full_grid_that_is_wrong)
{
    char puzzle[CELLS + 1], solution[CELLS];
    for (unsigned i = 0; i < CELLS; i++) {
        strcpy(puzzle, known[0].solution);
        puzzle[i] = (char)(puzzle[i] == '9' ? '1' : puzzle[i] + 1);
        ck_assert_int_eq(rill_sudoku_solve(puzzle, solution, NULL), RILL_SUDOKU_NO_SOLUTION);
    }
}
END_TEST

START_TEST(malformed)
{
    static const char wrong[] = {'a', ' ', '\0', '/', ':', '-', '\n', (char)0xb1};
    char puzzle[CELLS + 1], solution[CELLS + 1] = {0};
    for (unsigned i = 0; i < CELLS; i++) {
        for (unsigned k = 0; k < sizeof wrong; k++) {
            strcpy(puzzle, known[0].puzzle);
            puzzle[i] = wrong[k];
            if (rill_sudoku_solve(puzzle, solution, NULL) != RILL_SUDOKU_MALFORMED)
                ck_abort_msg("%u in cell %u", (unsigned char)wrong[k], i);
        }
    }
    ck_assert_str_eq(solution, "");
    memset(puzzle, '1', CELLS); /* malformed is worse than without a solution */
    puzzle[80] = 'x';
    ck_assert_int_eq(rill_sudoku_solve(puzzle, solution, NULL), RILL_SUDOKU_MALFORMED);
}
END_TEST

/* --- limits --- */

START_TEST(guesses_are_limited)
{
    char solution[CELLS + 1] = {0};
    struct rill_sudoku_search search = {0};
    ck_assert_int_eq(rill_sudoku_solve(known[2].puzzle, solution, &search), RILL_SUDOKU_SOLVED);
    uint64_t needed = search.guesses;
    ck_assert_uint_gt(needed, 10);
    memset(solution, 0, sizeof solution);
    for (uint64_t most = 1; most < needed; most++) {
        search = (struct rill_sudoku_search){.max_guesses = most};
        ck_assert_int_eq(rill_sudoku_solve(known[2].puzzle, solution, &search), RILL_SUDOKU_GIVEN_UP);
        ck_assert_uint_eq(search.guesses, most);
    }
    ck_assert_str_eq(solution, "");
    search = (struct rill_sudoku_search){.max_guesses = needed};
    ck_assert_int_eq(rill_sudoku_solve(known[2].puzzle, solution, &search), RILL_SUDOKU_SOLVED);
    ck_assert_str_eq(solution, known[2].solution);
    search = (struct rill_sudoku_search){.max_guesses = 1}; /* what needs no guess has enough with any */
    ck_assert_int_eq(rill_sudoku_solve(known[0].puzzle, solution, &search), RILL_SUDOKU_SOLVED);
    ck_assert_uint_eq(search.guesses, 0);
    search = (struct rill_sudoku_search){.max_guesses = 3000};
    ck_assert_int_eq(rill_sudoku_solve(endless, solution, &search), RILL_SUDOKU_GIVEN_UP);
}
END_TEST

static bool count_down(void *arg)
{
    unsigned *left = arg;
    return --*left == 0;
}

START_TEST(a_search_can_be_cancelled)
{
    char solution[CELLS + 1] = {0};
    for (unsigned after = 1; after < 200; after += 7) {
        unsigned left = after;
        struct rill_sudoku_search search = {.is_cancelled = count_down, .arg = &left};
        ck_assert_int_eq(rill_sudoku_solve(endless, solution, &search), RILL_SUDOKU_GIVEN_UP);
        ck_assert_uint_eq(left, 0); /* and it was not asked again */
        ck_assert_uint_eq(search.guesses, after);
    }
    ck_assert_str_eq(solution, "");
}
END_TEST

/* --- beside a plain search --- */

/* Whether PUZZLE has a solution: every digit in every cell, one after the other. */
static bool plain_search(char *puzzle, unsigned cell, unsigned *steps)
{
    if (cell == CELLS)
        return true;
    if (is_given(puzzle[cell]))
        return plain_search(puzzle, cell + 1, steps);
    for (char digit = '1'; digit <= '9'; digit++) {
        bool fits = true;
        for (unsigned other = 0; other < CELLS && fits; other++)
            fits = !(puzzle[other] == digit && same_unit(cell, other));
        if (!fits || (*steps)-- == 0)
            continue;
        puzzle[cell] = digit;
        if (plain_search(puzzle, cell + 1, steps))
            return true;
        puzzle[cell] = '.';
        if (*steps > 1000000)
            return false; /* used up */
    }
    return false;
}

/* Another grid of the same kind: digits renamed, rows exchanged within their bands, columns within theirs. */
static void shuffle(char *grid, struct test_random *random)
{
    char names[10] = "123456789", copy[CELLS];
    unsigned rows[9], columns[9];
    for (unsigned i = 9; i > 1; i--) {
        unsigned k = (unsigned)test_random_below(random, i);
        char name = names[i - 1];
        names[i - 1] = names[k];
        names[k] = name;
    }
    for (unsigned band = 0; band < 3; band++) {
        unsigned row_shift = (unsigned)test_random_below(random, 3),
                 column_shift = (unsigned)test_random_below(random, 3);
        for (unsigned i = 0; i < 3; i++) {
            rows[band * 3 + i] = band * 3 + (i + row_shift) % 3;
            columns[band * 3 + i] = band * 3 + (i + column_shift) % 3;
        }
    }
    memcpy(copy, grid, CELLS);
    for (unsigned i = 0; i < CELLS; i++)
        grid[i] = names[copy[rows[i / 9] * 9 + columns[i % 9]] - '1'];
}

START_TEST(agrees_with_a_plain_search)
{
    struct test_random random = {(uint64_t)_i + 1};
    unsigned solvable = 0, unsolvable = 0;
    for (int n = 0; n < 250; n++) {
        char puzzle[CELLS + 1] = {0}, plain[CELLS + 1], solution[CELLS];
        memcpy(puzzle, known[n % 4].solution, CELLS);
        shuffle(puzzle, &random);
        unsigned empty = 20 + (unsigned)test_random_below(&random, 30);
        for (unsigned i = 0; i < empty; i++)
            puzzle[test_random_below(&random, CELLS)] = '.';
        for (int wrong = n % 3; wrong > 0; wrong--) /* a digit that may not be right */
            puzzle[test_random_below(&random, CELLS)] = (char)('1' + test_random_below(&random, 9));
        bool clash = false;
        for (unsigned a = 0; a < CELLS; a++)
            for (unsigned b = 0; b < a; b++)
                clash |= is_given(puzzle[a]) && puzzle[a] == puzzle[b] && same_unit(a, b);
        memcpy(plain, puzzle, sizeof plain);
        unsigned steps = 50000;
        bool expected = !clash && plain_search(plain, 0, &steps);
        if (steps > 1000000)
            continue; /* too long for the plain one */
        enum rill_sudoku_result result = rill_sudoku_solve(puzzle, solution, NULL);
        if (result != (expected ? RILL_SUDOKU_SOLVED : RILL_SUDOKU_NO_SOLUTION) ||
            (expected && !is_solution(puzzle, solution)))
            ck_abort_msg("%s: %d", puzzle, (int)result);
        solvable += expected;
        unsolvable += !expected && !clash;
    }
    ck_assert_uint_gt(solvable, 80);
    ck_assert_uint_gt(unsolvable, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("sudoku");
    TCase *all = tcase_create("sudoku");
    tcase_add_loop_test(all, known_puzzles, 0, 4);
    tcase_add_test(all, one_of_many_solutions);
    tcase_add_loop_test(all, no_solution, 0, 6);
    tcase_add_test(all, a_full_grid_that_is_wrong);
    tcase_add_test(all, malformed);
    tcase_add_test(all, guesses_are_limited);
    tcase_add_test(all, a_search_can_be_cancelled);
    tcase_add_loop_test(all, agrees_with_a_plain_search, 0, 8);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
