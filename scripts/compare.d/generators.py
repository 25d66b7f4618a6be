"""Load generators side by side: wrk, h2load and rill-bench from one thread against the same server, which is the floor,
so that the generator is what limits. What each says it did is held against what it cost."""
import json
import re
import resource
from dataclasses import dataclass

import proc
from report import Table, number
from rounds import interleaved
from servers import Running, ServerError


@dataclass(frozen=True)
class Generator:
    name: str
    argv: object  # (url, connections, duration in s) -> words
    read: object  # (output) -> requests, seconds


@dataclass
class Round:
    requests_per_s: float
    cpu_us: float  # of the generator, a request
    busy: float  # of its CPU
    errors: int = 0

    def said(self):
        return f"{self.requests_per_s:9.0f} req/s {self.cpu_us:8.2f} us CPU a request, {self.busy:.0%} busy"


def _wrk(text):
    found = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text)
    return int(found.group(1)), float(found.group(2)) / (1000 if found.group(3) == "ms" else 1)


def _h2load(text):
    done = re.search(r"requests: \d+ total, \d+ started, (\d+) done", text)
    rate = re.search(r"finished in .*, ([\d.]+) req/s", text)
    return int(done.group(1)), int(done.group(1)) / float(rate.group(1))


def _rill(text):
    result = json.loads(text[text.index("{") :])
    return result["requests"], result["elapsed_s"]


def generators(bin_dir):
    return [
        Generator("rill-bench", lambda url, c, s: [str(bin_dir / "rill-bench"), "--json", "--quiet", "--threads", "1",
                                                   "--connections", str(c), "--duration", f"{s}s", "--warmup", "1ms",
                                                   url], _rill),
        Generator("wrk", lambda url, c, s: ["wrk", "-t", "1", "-c", str(c), "-d", f"{s}s", url], _wrk),
        Generator("h2load", lambda url, c, s: ["h2load", "--h1", "-t", "1", "-c", str(c), "-D", str(s), url], _h2load),
    ]  # fmt: skip


def measure(bin_dir, server, scratch, cpus, connections, rounds, duration_s, say):
    """Results by generator; CPUS: the server's and the generator's."""
    with Running(server, scratch, cpus[0]) as running:
        def one(generator):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            argv = generator.argv(running.url, connections, duration_s)
            status, text = proc.output_of(argv, duration_s + 30, cpus[1])
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            try:
                requests, seconds = generator.read(text)
            except (AttributeError, ValueError, KeyError):
                raise ServerError(f"{generator.name}: status {status}: {text.strip()[-300:]}") from None
            cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            return Round(requests / seconds, cpu_s * 1e6 / max(requests, 1), cpu_s / seconds)

        return interleaved(generators(bin_dir), rounds, say, one)


def table(results, connections, server):
    wrk = results["wrk"]
    shown = Table(f"Load generators, one thread, {connections} keep-alive connections, against {server}",
                  ["generator", "req/s", "x wrk", "CPU us/req", "x wrk", "of its CPU", "errors"])  # fmt: skip
    for result in results.values():
        if not result.good:
            shown.rows.append([result.name, "failed"] + [""] * 4 + [str(result.errors())])
            shown.notes.append(result.failures[0])
            continue
        based = wrk if wrk.good else None
        shown.rows.append([result.name, number(result.median("requests_per_s")),
                           number(result.ratio(based, "requests_per_s"), 2) if based else "-",
                           number(result.median("cpu_us"), 2),
                           number(result.ratio(based, "cpu_us"), 2) if based else "-",
                           f"{result.median('busy'):.0%}", str(result.errors())])  # fmt: skip
    return shown
