"""One load on several servers: wrk or rill-bench against each in turn, round after round, and what came of it."""
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import proc
from rounds import interleaved
from servers import Running, ServerError

WRK_SCRIPT = Path(__file__).resolve().parent / "wrk.lua"
CLOSE = "Connection: close"


@dataclass(frozen=True)
class Shape:
    """How the load looks, whoever answers it."""

    connections: int = 64
    pipeline: int = 1
    close: bool = False
    wrk_threads: int = 1


@dataclass
class Round:
    requests_per_s: float
    cpu_us: float  # of the server, a request
    user_s: float  # over the whole round, by the kernel's tick
    system_s: float
    p50_us: float
    p99_us: float
    pss_bytes: float
    errors: int
    others_share: float

    @property
    def user_us(self):
        return self.cpu_us * self.user_s / max(self.user_s + self.system_s, 1e-9)

    def said(self):
        return f"{self.requests_per_s:9.0f} req/s {self.cpu_us:8.2f} us CPU a request"


class Bench:
    """Where and for how long to measure."""

    def __init__(self, scratch, server_cpus, load_cpus, rounds, duration_s, say, rill_bench=None):
        """RILL_BENCH: where that is, to generate the load instead of wrk."""
        self.scratch, self.server_cpus, self.load_cpus = scratch, server_cpus, load_cpus
        self.rounds, self.duration_s, self.say, self.rill_bench = rounds, duration_s, say, rill_bench

    def generate(self, url, shape, duration_s):
        """What one run of the generator saw: requests, bytes, duration_us, p50_us, p99_us, errors."""
        return (self.rill if self.rill_bench else self.wrk)(url, shape, duration_s)

    def rill(self, url, shape, duration_s):
        argv = [str(self.rill_bench), "--json", "--quiet", "--threads", str(shape.wrk_threads), "--connections",
                str(shape.connections), "--pipeline", str(shape.pipeline), "--duration", f"{duration_s}s", "--warmup",
                "1ms"]  # fmt: skip
        argv += ["--new-connection"] if shape.close else []
        status, text = proc.output_of(argv + [url], duration_s + 30, self.load_cpus)
        if status != 0:
            raise ServerError(f"rill-bench failed: {text.strip().splitlines()[-1] if text.strip() else status}")
        got = json.loads(text)
        return {"requests": got["requests"], "bytes": round(got["bytes_per_second"] * got["elapsed_s"]),
                "duration_us": got["elapsed_s"] * 1e6, "p50_us": got["latency_us"]["p50"],
                "p99_us": got["latency_us"]["p99"], "errors": got["errors"]["total"]}  # fmt: skip

    def wrk(self, url, shape, duration_s):
        argv = ["wrk", "-t", str(shape.wrk_threads), "-c", str(shape.connections), "-d", f"{duration_s}s",
                "-s", str(WRK_SCRIPT)]  # fmt: skip
        argv += ["-H", CLOSE] if shape.close else []
        environment = os.environ | {"COMPARE_CONNECTIONS": str(shape.connections)}
        status, text = proc.output_of(argv + [url, "--", str(shape.pipeline)], duration_s + 30, self.load_cpus,
                                      environment)  # fmt: skip
        line = re.search(r"^compare (.*)$", text, re.MULTILINE)
        if status != 0 or not line:
            raise ServerError(f"wrk failed: {text.strip().splitlines()[-1] if text.strip() else status}")
        return {key: int(value) for key, value in (pair.split("=") for pair in line.group(1).split())}

    def one_round(self, contender, shape, server_cpus, duration_s):
        with Running(contender, self.scratch, server_cpus, header=CLOSE if shape.close else None) as server:
            self.generate(server.url, shape, 1)
            before = proc.cpu_sample(server.pid, server_cpus)
            got = self.generate(server.url, shape, duration_s)
            use = proc.cpu_use(before, proc.cpu_sample(server.pid, server_cpus), len(server_cpus))
            memory = proc.pss_bytes(server.pid)
        requests = got["requests"]
        if requests == 0:
            raise ServerError(f"{contender.name}: no reply in {duration_s} s")
        if got["bytes"] < requests * len(contender.body):
            raise ServerError(f"{contender.name}: {got['bytes'] / requests:.0f} bytes a reply are too few")
        return Round(requests / got["duration_us"] * 1e6, use.total_s / requests * 1e6, use.user_s, use.system_s,
                     got["p50_us"], got["p99_us"], memory, got["errors"], use.others_share)  # fmt: skip

    def rounds_of(self, contenders, shape, server_cpus=None, rounds=None, duration_s=None):
        """Measures CONTENDERS interleaved. Returns a Result for each, by name."""
        return interleaved(contenders, rounds or self.rounds, self.say, lambda contender: self.one_round(
            contender, shape, server_cpus or self.server_cpus, duration_s or self.duration_s))  # fmt: skip

    def better(self, variants, shape, rounds=3):
        """The one of VARIANTS of a server, setting them apart by name, that spends the least CPU a request: the
        faster one where the server is what limits, and the only difference to see where wrk is."""
        if len(variants) == 1:
            return variants[0]
        results = self.rounds_of(variants, shape, rounds=rounds, duration_s=1)
        tried = [v for v in variants if results[v.name].good]
        if not tried:
            raise ServerError("; ".join(results[variants[0].name].failures[:1]))
        return min(tried, key=lambda v: results[v.name].median("cpu_us"))
