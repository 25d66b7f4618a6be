"""Posts from another thread into one loop: build/release/bin/bench_post."""
import re
import statistics

import proc
from report import Table
from servers import ServerError
from session import say

LIMIT_S = 120
A_SECOND = 5.0e6


def run(rig):
    """The poster and the loop have all the CPUs: each wants one of its own."""
    program = rig.bin / "bench_post"
    if not program.exists():
        raise ServerError(f"{program} is not there; it is built where Debian's package check is installed")
    runs = []
    for number in range(rig.rounds):
        status, text = proc.output_of([str(program), "20" if rig.args.quick else "100"], LIMIT_S)
        found = re.search(r"([\d.]+) million posts .*; ([\d.]+) ns a post .*; (\d+) wake-ups for (\d+) batches", text)
        if status != 0 or not found:
            raise ServerError(f"bench_post: {text.strip() or status}")
        runs.append([float(word) for word in found.groups()])
        say(f"  round {number + 1}: {text.strip()}")
    millions, post_ns, wakes, batches = (statistics.median(values) for values in zip(*runs))
    least = min(run[0] for run in runs)
    rig.show(Table("Posts from another thread into one loop", ["rounds", "million posts/s", "least", "ns a post",
                   "wake-ups", "batches"],
                   [[str(len(runs)), f"{millions:.1f}", f"{least:.1f}", f"{post_ns:.1f}", f"{wakes:.0f}",
                     f"{batches:.0f}"]],
                   ["ns a post: the poster's; wake-ups: writes to the eventfd; batches: what the loop took at once"]))
    rig.targets.add("posts", "more than 5 million a second", f"{millions:.1f} million", millions * 1e6 > A_SECOND)
    rig.targets.add("posts", "one wake-up a batch", f"{wakes / batches:.2f}", all(run[2] <= run[3] for run in runs))
