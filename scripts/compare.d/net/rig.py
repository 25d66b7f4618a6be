"""Where and how the rows of `scripts/compare net` are measured: a server on its CPUs, a load generator of ours on
others, and what the kernel says of both between the ends of the generator's window."""
import math
import os
import select
import subprocess
from dataclasses import dataclass
from typing import Callable

import proc
from report import Targets
from rounds import interleaved
from servers import Contender, Running, ServerError
from session import OUT, compile_c, say

WARM_MS = 500
START_S = 30.0  # so long a generator may take to open its connections


@dataclass(frozen=True, kw_only=True)
class Peer(Contender):
    """A server that is measured. CHECK(port) stops with a ServerError unless it does its work right."""

    path: str = ""
    body: bytes = b""
    check: Callable[[int], None] = lambda port: None


class Served(Running):
    def check(self):
        try:
            self.contender.check(self.port)
        except (OSError, ServerError) as error:
            raise ServerError(f"{self.contender.name}: {error}") from None


@dataclass
class Round:
    """Of what is measured, in a generator's units: messages, requests, bytes."""

    rate: float  # units a second
    cpu_us: float  # a unit
    user_s: float  # over the whole round, by the kernel's tick
    system_s: float
    p50_us: float
    p99_us: float
    busy: float  # share of its CPUs
    other_busy: float  # the other side's share of its CPUs: near 1, and it is what limits
    others_share: float
    errors: int = 0

    @property
    def user_us(self):
        return self.cpu_us * self.user_s / max(self.user_s + self.system_s, 1e-9)

    def said(self):
        return (f"{self.rate:9.0f} a second {self.cpu_us:8.2f} us CPU each; {self.busy:.0%} busy, "
                f"the other side {self.other_busy:.0%}")  # fmt: skip


class Load:
    """A load generator that runs for the length of a `with`."""

    def __init__(self, argv, cpus, pass_fds=()):
        self.argv, self.cpus, self.pass_fds = [str(word) for word in argv], cpus, pass_fds

    def __enter__(self):
        self.process = proc.start(self.argv, self.cpus, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
                                  pass_fds=self.pass_fds)  # fmt: skip
        return self

    def __exit__(self, *_):
        proc.stop(self.process)
        self.process.stdout.close()

    def wait_for(self, word, limit_s):
        """The KEY=VALUE pairs of the next line, which begins with WORD."""
        ready, _, _ = select.select([self.process.stdout], [], [], limit_s)
        line = self.process.stdout.readline().decode(errors="replace").strip() if ready else f"silent for {limit_s} s"
        first, *pairs = line.split() or ["it ended"]
        if first != word:
            raise ServerError(f"{os.path.basename(self.argv[0])}: {line or first}")
        return {key: float(value) for key, value in (pair.split("=") for pair in pairs)}


class Rig:
    def __init__(self, args):
        self.args = args
        self.bin = args.bin
        self.scratch = OUT / "run"
        self.rounds, self.window_s = args.rounds, args.duration
        self.targets = Targets()
        self.blocks = []
        self.failed = False
        self.cpus = sorted(os.sched_getaffinity(0))
        self.place(1)

    def place(self, loops):
        """Chooses the CPUs of a server with LOOPS threads and of its load. Two loops get two CPUs where there are four;
        with fewer they share one, so that what shows is what a second loop costs, not what it brings."""
        cpus, width = self.cpus, 2 if loops > 1 and len(self.cpus) >= 4 else 1
        self.server_cpus = set(cpus[:width])
        self.load_cpus = set(cpus[width : 2 * width]) or self.server_cpus
        self.load_threads = width
        if loops > 1:
            return ["on two CPUs, the load on two others" if width > 1 else "both loops on the server's one CPU"]
        return []

    def rill(self, program, check, threads=1, options=()):
        """One of Rill's servers."""

        def argv(port, _scratch):
            return [str(self.bin / program), "--listen", f"127.0.0.1:{port}", "--threads", str(threads), *options]

        return Peer("rill", argv=argv, check=check)

    def compile(self, name, *libraries):
        """One of the programs here; a server's name has nothing before it, a generator's "load_"."""
        shared = "net/load.c" if name.startswith(("load_", "connect_")) else "net/peer.c"
        return compile_c(name, f"net/{name}.c", shared, libraries=libraries)

    def show(self, table):
        print("\n" + table.text() + "\n", flush=True)
        self.blocks.append(table)

    def window(self, argv, server, measured="server", pass_fds=(), unit=1):
        """Runs the generator ARGV on SERVER; what is measured is one of the two, "server" or "load". The figures are
        for UNIT of what the generator counts."""
        argv = [*argv, WARM_MS, int(self.window_s * 1000)]
        with Load(argv, self.server_cpus if measured == "load" else self.load_cpus, pass_fds) as load:
            mine, other = (load.process.pid, server.pid) if measured == "load" else (server.pid, load.process.pid)
            load.wait_for("begin", START_S)
            before = proc.cpu_sample(mine, self.server_cpus), proc.cpu_sample(other, self.load_cpus)
            got = load.wait_for("end", self.window_s + START_S)
            after = proc.cpu_sample(mine, self.server_cpus), proc.cpu_sample(other, self.load_cpus)
        use = proc.cpu_use(before[0], after[0], len(self.server_cpus))
        others = proc.cpu_use(before[1], after[1], len(self.load_cpus))
        if got["units"] == 0:
            raise ServerError(f"{server.contender.name}: nothing came back in {self.window_s} s")
        units, wall_s = got["units"] / unit, after[0].at_s - before[0].at_s
        return Round(units / got["seconds"], use.total_s / units * 1e6, use.user_s, use.system_s,
                     got.get("p50_us", math.nan), got.get("p99_us", math.nan),
                     use.total_s / wall_s / len(self.server_cpus), others.total_s / wall_s / len(self.load_cpus),
                     use.others_share)  # fmt: skip

    def rounds_of(self, peers, load_argv, **window):
        """LOAD_ARGV(port): the generator's command line. Returns a Result for each of PEERS, by name."""

        def measure(peer):
            with Served(peer, self.scratch, self.server_cpus) as server:
                return self.window(load_argv(server.port), server, **window)

        return self.keep(interleaved(peers, self.rounds, say, measure))

    def keep(self, results):
        self.failed |= any(result.failures for result in results.values())
        return results


def best(results, names, what, most=True):
    """The one of NAMES whose median of WHAT is the greatest (or the least); None when none was measured."""
    measured = [results[name] for name in names if name in results and results[name].good]
    return (max if most else min)(measured, key=lambda result: result.median(what), default=None)
