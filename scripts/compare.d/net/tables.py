"""The tables of `scripts/compare net`."""
import math
from dataclasses import dataclass

from report import Table, number


@dataclass(frozen=True)
class Column:
    header: str
    what: str  # of a Round
    decimals: int = 0
    scale: float = 1.0
    ratio: bool = False  # beside it, what it is in proportion to the base's
    spread: bool = False  # and the least and greatest such proportion within a round


def counted(count, noun):
    return f"{count} {noun}{'s' * (count != 1)}"


def busy(measured="server", other="client"):
    return [Column(f"{measured} busy %", "busy", scale=100), Column(f"{other} busy %", "other_busy", scale=100)]


def _header(columns):
    for column in columns:
        yield column.header
        yield from ["x"] * column.ratio
        yield from ["x least..most"] * column.spread


def _cells(columns, result, base):
    for column in columns:
        yield number(result.median(column.what) * column.scale, column.decimals)
        if column.ratio:
            yield number(result.ratio(base, column.what) if base else math.nan, 2)
        if column.spread:
            low, high = result.ratio_spread(base, column.what) if base else (math.nan, math.nan)
            yield f"{number(low, 2)}..{number(high, 2)}"


def of_groups(title, names, columns, groups, notes=()):
    """A table of GROUPS: (label, results by name, the base of the ratios). NAMES are the headers of the label and of
    the contender."""
    table = Table(title, [*names, *_header(columns)], notes=list(notes))
    others = []
    for label, results, base in groups:
        for result in results.values():
            if not result.good:
                table.rows.append([label, result.name, "failed"] + [""] * (len(table.header) - 3))
                table.notes.append(result.failures[0])
                continue
            table.rows.append([label, result.name, *_cells(columns, result, base if base and base.good else None)])
            others += [r.others_share for r in result.good]
    if others:
        others.sort()
        table.notes.append(f"taken from the measured side's CPU by other processes: {others[len(others) // 2]:.0%} in "
                           f"the median round, {others[-1]:.0%} in the worst")  # fmt: skip
    return table
