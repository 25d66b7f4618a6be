"""Memory that a server holds for an idle keep-alive connection."""
import resource
import statistics
import time
from dataclasses import dataclass

import client
import proc
from servers import Running, ServerError

SETTLE_S = 1.5
SPARE_DESCRIPTORS = 500


@dataclass
class Idle:
    connections: int
    before_bytes: int
    after_bytes: int
    opened_s: float

    @property
    def bytes_each(self):
        return (self.after_bytes - self.before_bytes) / self.connections

    @property
    def all_bytes_each(self):
        """The server's whole memory over its connections: what is set aside at the start shows here."""
        return self.after_bytes / self.connections


def possible(wanted):
    return min(wanted, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)


def measure(contender, scratch, cpus, count):
    count = min(count, contender.max_connections)
    with Running(contender, scratch, cpus) as server:
        time.sleep(SETTLE_S)
        before = proc.pss_bytes(server.pid)
        start = time.monotonic()
        connections, failed = client.open_idle(server.port, contender.path, count)
        opened_s = time.monotonic() - start
        try:
            time.sleep(SETTLE_S)
            after = proc.pss_bytes(server.pid)
            lost = len(connections) - client.still_open(connections)
        finally:
            for connection in connections:
                connection.close()
    if failed + lost:
        raise ServerError(f"{contender.name}: {failed} of {count} connections failed, {lost} were closed again")
    return Idle(count, before, after, opened_s)


def rounds_of(contenders, scratch, cpus, count, rounds, say):
    """Median by bytes of ROUNDS (memory hardly varies, so a few will do); a text stands for a server that failed."""
    found = {c.name: [] for c in contenders}
    for _ in range(rounds):
        for contender in contenders:
            if isinstance(found[contender.name], str):
                continue
            try:
                one = measure(contender, scratch, cpus, count)
                found[contender.name].append(one)
                say(f"  {contender.name:12} {one.bytes_each:7.0f} bytes a connection")
            except ServerError as error:
                found[contender.name] = str(error)
                say(f"  {error}")

    def middle(measured):
        value = statistics.median_low(m.bytes_each for m in measured)
        return next(m for m in measured if m.bytes_each == value)

    return {name: m if isinstance(m, str) else middle(m) for name, m in found.items()}
