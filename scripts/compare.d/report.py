"""Tables, as text and as Markdown, and the promises they are held against."""
import math
from dataclasses import dataclass, field


@dataclass
class Table:
    title: str
    header: list
    rows: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def text(self):
        cells = [self.header] + self.rows
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.header))]

        def line(row):
            return "  ".join(c.ljust(w) if _is_text(i) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths)))

        _is_text = self._text_columns()
        lines = [self.title, "", line(self.header).rstrip(), "  ".join("-" * w for w in widths)]
        return "\n".join(lines + [line(row).rstrip() for row in self.rows] + [f"  {note}" for note in self.notes])

    def markdown(self):
        is_text = self._text_columns()
        rule = [":---" if is_text(i) else "---:" for i in range(len(self.header))]
        lines = [f"### {self.title}", ""]
        lines += ["| " + " | ".join(row) + " |" for row in [self.header, rule] + self.rows]
        return "\n".join(lines + ([""] if self.notes else []) + [f"- {note}" for note in self.notes])

    def _text_columns(self):
        numbers = [all(not row[i] or row[i][0] in "0123456789-~" for row in self.rows)
                   for i in range(len(self.header))]  # fmt: skip
        return lambda i: i == 0 or not numbers[i]


def number(value, decimals=0):
    return "-" if value is None or math.isnan(value) or value < 0 else f"{value:.{decimals}f}"


def load_table(title, results, base, notes=()):
    """RESULTS of one load; BASE is the one that ratios are to, or None."""
    table = Table(title, ["server", "req/s", "x", "x least..most", "CPU us/req", "x", "user us/req", "x", "p50 us",
                          "p99 us", "x", "Pss MiB", "errors"], notes=list(notes))  # fmt: skip
    for result in results.values():
        if not result.good:
            table.rows.append([result.name, "failed"] + [""] * 10 + [str(result.errors())])
            table.notes.append(result.failures[0])
            continue

        def ratio(what, result=result):
            return number(result.ratio(base, what), 2) if base and base.good else "-"

        low, high = result.ratio_spread(base, "requests_per_s") if base else (math.nan, math.nan)
        table.rows.append([
            result.name, number(result.median("requests_per_s")), ratio("requests_per_s"),
            f"{number(low, 2)}..{number(high, 2)}", number(result.median("cpu_us"), 2), ratio("cpu_us"),
            number(result.median("user_us"), 2), ratio("user_us"), number(result.median("p50_us")),
            number(result.median("p99_us")), ratio("p99_us"), number(result.median("pss_bytes") / 2**20, 1),
            str(result.errors())])  # fmt: skip
    others = [r.others_share for result in results.values() for r in result.good]
    if others:
        others.sort()
        table.notes.append(f"taken from the server's CPU by other processes: {others[len(others) // 2]:.0%} in the "
                           f"median round, {others[-1]:.0%} in the worst")  # fmt: skip
    return table


class Targets:
    """What is promised, beside what was measured."""

    def __init__(self):
        self.rows, self.missed = [], 0

    def add(self, load, promise, measured, holds, remark=""):
        verdict = "not measured" if holds is None else "pass" if holds else "FAIL"
        self.missed += holds is False
        self.rows.append([load, promise, measured, verdict + remark])

    def ratio(self, load, label, result, base, what, at_least=None, at_most=None, base_name="nginx",
              beside=()):  # fmt: skip
        """RESULT's ratio to BASE, held against the promise. BESIDE: (label, result, what) of other ratios to BASE that
        belong beside it."""
        bound = at_least if at_least is not None else at_most
        promise = f"{label} {'at least' if at_least is not None else 'at most'} {bound:.2f}x {base_name}'s"
        if not (result and result.good and base and base.good):
            self.add(load, promise, "-", None)
            return
        value = result.ratio(base, what)
        low, high = result.ratio_spread(base, what)
        if math.isnan(value) or result.median(what) < 0:
            self.add(load, promise, "-", None)
            return
        # To the figures that are printed: 1.0x is not missed by a thousandth.
        holds = round(value, 2) >= bound if at_least is not None else round(value, 2) <= bound
        remark = " (within the spread)" if low < bound < high else ""
        if result.errors():
            holds, remark = False, f" ({result.errors()} errors)"
        others = "".join(f"; {name} {number(other.ratio(base, of), 2)}x" for name, other, of in beside if other.good)
        self.add(load, promise, f"{value:.2f}x ({low:.2f}..{high:.2f}){others}", holds, remark)

    def table(self):
        notes = ["in brackets: least and greatest in a single round; a target between the two is settled by the "
                 "median, but not for good"]  # fmt: skip
        return Table("Promised and measured", ["load", "promised", "measured", "verdict"], self.rows, notes)
