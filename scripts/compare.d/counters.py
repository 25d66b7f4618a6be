"""What it costs a server that it counts, and that it could be traced: rill-hello as it is, beside builds of it without
the one and without the other, and one that traces."""
import math
import os
import shutil
import statistics
from dataclasses import dataclass

import proc
from report import Table, number
from servers import ServerError, rill_hello

WITHOUT = {"without counters": "-DRILL_COUNTING=0", "without trace hooks": "-DRILL_TRACING=0"}


def build(top, out):
    """Builds what WITHOUT names below OUT; returns the folders of the programs by name."""
    folders = {}
    for name, flag in WITHOUT.items():
        folder = out / name.replace(" ", "-")
        shutil.rmtree(folder, ignore_errors=True)  # CMake forgets flags when it finds another compiler
        for argv in (["cmake", "-S", top, "-B", folder, "-G", "Ninja", "-DCMAKE_C_COMPILER=gcc",
                      "-DCMAKE_BUILD_TYPE=Release", "-DRILL_TESTS=OFF", f"-DCMAKE_C_FLAGS={flag}"],
                     ["cmake", "--build", folder, "--target", "rill-hello"]):  # fmt: skip
            status, text = proc.output_of([str(word) for word in argv], 600)
            if status != 0:
                raise ServerError(f"cannot build rill-hello {name}: {text}")
        folders[name] = folder / "bin"
    return folders


def contenders(bin_dir, folders):
    return [rill_hello(bin_dir, "rill"), *(rill_hello(folder, name) for name, folder in folders.items()),
            rill_hello(bin_dir, "traced, 1 in 256", options=("--trace", os.devnull))]  # fmt: skip


@dataclass
class More:
    """Percent: the median of the rounds, and between what the true median lies with a certainty of 95 %."""

    middle: float
    low: float
    high: float

    def text(self):
        return f"{self.middle:+.1f} % ({self.low:+.1f}..{self.high:+.1f})"


def _interval(values):
    """The order statistics that have the median between them: fewer than K of N values are below it with the
    probability of fewer than K heads in N throws."""
    values, outside, k = sorted(values), 0.0, 0
    while k + 1 < len(values) / 2:
        outside += math.comb(len(values), k) * 2.0 ** (1 - len(values))
        if outside > 0.05:
            break
        k += 1
    first = max(0, k - 1)
    return More(statistics.median(values), values[first], values[-1 - first])


def _ratio(above, below):
    return [(a.cpu_us / b.cpu_us - 1) * 100 for a, b in zip(above.rounds, below.rounds) if a and b]


def more(results):
    """How much more CPU time a request needs for what each of WITHOUT lacks."""
    return {name.replace("without ", ""): _interval(_ratio(results["rill"], results[name]))
            for name in WITHOUT if results["rill"].good and results[name].good}  # fmt: skip


def table(results, instructions, connections):
    shown = Table(f"What counting and tracing cost, keep-alive, 13-byte reply, {connections} connections",
                  ["server", "req/s", "CPU us/req", "to rill's, %", "95 % interval", "instructions, 1 at a time",
                   "64 at a time"])  # fmt: skip
    for name, result in results.items():
        counted = [number(instructions[name, n]) if instructions.get((name, n)) else "-" for n in (1, 64)]
        if not result.good:
            shown.rows.append([name, "failed", "", "", "", *counted])
            shown.notes.append(result.failures[0])
            continue
        beside = ["-", "-"]
        if name != "rill" and results["rill"].good:
            ratio = _interval(_ratio(result, results["rill"]))
            beside = [f"{ratio.middle:+.1f}", f"{ratio.low:+.1f}..{ratio.high:+.1f}"]
        shown.rows.append([name, number(result.median("requests_per_s")), number(result.median("cpu_us"), 2), *beside,
                           *counted])  # fmt: skip
    shown.notes.append("to rill's: CPU time a request, the median of the ratios of each round")
    return shown
