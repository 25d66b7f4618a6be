/* solver.c - sudoku by elimination and search.
 *
 * What a cell may be is what its row, its column and its box have left: three masks of nine bits, so that a placed
 * digit is three assignments. Before every guess all that follows without one is placed: a cell that has one digit
 * left, and a digit that has one cell left in a row, a column or a box; the latter come out of two masks a unit, of
 * digits that have been seen once and of those seen again. Then the cell with the fewest digits left is guessed. A
 * guess works on a copy of the board, which is small, so there is nothing to undo. */
#include "solver.h"
#include <stddef.h>
#include <string.h>

enum {
    SIDE = 9,
    UNITS = 3 * SIDE, /* rows, columns, boxes */
    ALL = (1 << SIDE) - 1,
};

struct board {
    uint16_t used[UNITS];              /* digits that stand there: bit 0 is 1 */
    uint8_t digits[RILL_SUDOKU_CELLS]; /* 0: empty */
};

static unsigned row_of(unsigned cell)
{
    return cell / SIDE;
}

static unsigned column_of(unsigned cell)
{
    return SIDE + cell % SIDE;
}

static unsigned box_of(unsigned cell)
{
    return 2 * SIDE + cell / (3 * SIDE) * 3 + cell % SIDE / 3;
}

/* The I-th cell of UNIT. */
static unsigned cell_in(unsigned unit, unsigned i)
{
    unsigned n = unit % SIDE;
    switch (unit / SIDE) {
    case 0:
        return n * SIDE + i;
    case 1:
        return i * SIDE + n;
    default:
        return (n / 3 * 3 + i / 3) * SIDE + n % 3 * 3 + i % 3;
    }
}

/* What may stand in CELL, which is empty. */
static unsigned candidates(const struct board *board, unsigned cell)
{
    return ALL & ~(unsigned)(board->used[row_of(cell)] | board->used[column_of(cell)] | board->used[box_of(cell)]);
}

static void place(struct board *board, unsigned cell, unsigned bit)
{
    board->digits[cell] = (uint8_t)(__builtin_ctz(bit) + 1);
    board->used[row_of(cell)] |= (uint16_t)bit;
    board->used[column_of(cell)] |= (uint16_t)bit;
    board->used[box_of(cell)] |= (uint16_t)bit;
}

/* Places digits that have only one cell left in UNIT, if it has such. Returns how many, or -1 when some digit has none.
 */
static int place_hidden(struct board *board, unsigned unit)
{
    unsigned once = 0, again = 0;
    for (unsigned i = 0; i < SIDE; i++) {
        unsigned cell = cell_in(unit, i);
        unsigned may_be = board->digits[cell] ? 0 : candidates(board, cell);
        again |= once & may_be;
        once |= may_be;
    }
    if ((once | board->used[unit]) != ALL)
        return -1;
    unsigned single = once & ~again;
    int placed = 0;
    for (unsigned i = 0; i < SIDE && single; i++) {
        unsigned cell = cell_in(unit, i);
        unsigned bit = board->digits[cell] ? 0 : candidates(board, cell) & single;
        if (bit & (bit - 1))
            return -1; /* two digits want this cell alone */
        if (bit) {
            place(board, cell, bit);
            placed++;
        }
        single &= ~bit;
    }
    return placed;
}

/* Places all that follows without a guess. Returns the cell to guess next, RILL_SUDOKU_CELLS when all is full, or -1
 * when it cannot be solved. */
static int deduce(struct board *board)
{
    for (;;) {
        int best = RILL_SUDOKU_CELLS, fewest = SIDE + 1, placed = 0;
        for (unsigned cell = 0; cell < RILL_SUDOKU_CELLS; cell++) {
            if (board->digits[cell])
                continue;
            unsigned may_be = candidates(board, cell);
            int count = __builtin_popcount(may_be);
            if (count == 0)
                return -1;
            if (count == 1) {
                place(board, cell, may_be);
                placed++;
            } else if (count < fewest) {
                fewest = count;
                best = (int)cell;
            }
        }
        if (placed > 0)
            continue;
        for (unsigned unit = 0; unit < UNITS; unit++) {
            int here = board->used[unit] == ALL ? 0 : place_hidden(board, unit);
            if (here < 0)
                return -1;
            placed += here;
        }
        if (placed == 0)
            return best;
    }
}

static bool may_guess(struct rill_sudoku_search *search)
{
    if (search->max_guesses > 0 && search->guesses >= search->max_guesses)
        return false;
    search->guesses++;
    return !search->is_cancelled || !search->is_cancelled(search->arg);
}

/* Solves BOARD in place. */
static enum rill_sudoku_result solve(struct board *board, struct rill_sudoku_search *search)
{
    int cell = deduce(board);
    if (cell < 0 || cell == RILL_SUDOKU_CELLS)
        return cell < 0 ? RILL_SUDOKU_NO_SOLUTION : RILL_SUDOKU_SOLVED;
    for (unsigned left = candidates(board, (unsigned)cell); left; left &= left - 1) {
        struct board guess = *board;
        if (!may_guess(search))
            return RILL_SUDOKU_GIVEN_UP;
        place(&guess, (unsigned)cell, left & -left);
        enum rill_sudoku_result result = solve(&guess, search);
        if (result == RILL_SUDOKU_SOLVED)
            *board = guess;
        if (result != RILL_SUDOKU_NO_SOLUTION)
            return result;
    }
    return RILL_SUDOKU_NO_SOLUTION;
}

/* Fills BOARD from PUZZLE. */
static enum rill_sudoku_result read_puzzle(const char *puzzle, struct board *board)
{
    enum rill_sudoku_result result = RILL_SUDOKU_SOLVED;
    for (unsigned cell = 0; cell < RILL_SUDOKU_CELLS; cell++) {
        char c = puzzle[cell];
        if (c == '0' || c == '.')
            continue;
        if (c < '1' || c > '9')
            return RILL_SUDOKU_MALFORMED;
        unsigned bit = 1u << (c - '1');
        if (!(candidates(board, cell) & bit))
            result = RILL_SUDOKU_NO_SOLUTION; /* unless there is worse to come */
        place(board, cell, bit);
    }
    return result;
}

enum rill_sudoku_result rill_sudoku_solve(const char *puzzle, char *solution, struct rill_sudoku_search *search)
{
    struct rill_sudoku_search unbounded = {0};
    struct board board;
    memset(&board, 0, sizeof board);
    enum rill_sudoku_result result = read_puzzle(puzzle, &board);
    if (result == RILL_SUDOKU_SOLVED)
        result = solve(&board, search ? search : &unbounded);
    for (unsigned cell = 0; result == RILL_SUDOKU_SOLVED && cell < RILL_SUDOKU_CELLS; cell++)
        solution[cell] = (char)('0' + board.digits[cell]);
    return result;
}
