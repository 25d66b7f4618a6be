"""Cache: the memcached text protocol, a tenth of the requests a set, beside memcached with as many threads."""
import socket

from net.rig import Peer
from net.tables import Column, busy, counted, of_groups
from servers import ServerError
from session import say

THREADS = (1, 2)
CONNECTIONS, SET_PERCENT, VALUE_BYTES = 64, 10, 100
AT_A_TIME = (1, 16)

COLUMNS = [
    Column("req/s", "rate", ratio=True, spread=True),
    Column("CPU us/req", "cpu_us", 2, ratio=True),
    Column("user us/req", "user_us", 2, ratio=True),
    Column("p50 us", "p50_us"),
    Column("p99 us", "p99_us", ratio=True),
    *busy(),
]


def check(port):
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"set k 7 0 5\r\nhello\r\nget k\r\nget none\r\n")
        wanted, got = b"STORED\r\nVALUE k 7 5\r\nhello\r\nEND\r\nEND\r\n", b""
        while len(got) < len(wanted):
            more = connection.recv(4096)
            if not more:
                break
            got += more
        if got != wanted:
            raise ServerError(f"wanted {wanted!r}, got {got!r}")


def contenders(rig, threads):
    def memcached(port, _scratch):
        return ["memcached", "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-t", str(threads), "-m", "256"]

    return [rig.rill("rill-cache", check, threads), Peer("memcached", argv=memcached, check=check)]


def run(rig):
    load = rig.compile("load_cache")
    for threads in THREADS:
        notes, groups = rig.place(threads), []
        for at_a_time in AT_A_TIME:
            label = f"{counted(threads, 'thread')}, {at_a_time} at a time"
            say(f" {label}")
            results = rig.rounds_of(contenders(rig, threads), lambda port, at_a_time=at_a_time: [
                load, port, CONNECTIONS, SET_PERCENT, VALUE_BYTES, at_a_time, rig.load_threads])  # fmt: skip
            groups.append((str(at_a_time), results, results["memcached"]))
            promise(rig, f"cache, {label}", results)
        rig.show(of_groups(f"Cache, {CONNECTIONS} connections, {SET_PERCENT} % set, values of {VALUE_BYTES} bytes, "
                           f"{counted(threads, 'thread')}", ("at a time", "server"), COLUMNS, groups,
                           [*notes, "x: ratio to memcached"]))  # fmt: skip


def promise(rig, load, results):
    for label, what, bound in (("req/s", "rate", {"at_least": 1.0}), ("CPU a request", "cpu_us", {"at_most": 1.0})):
        rig.targets.ratio(load, label, results["rill"], results["memcached"], what, base_name="memcached", **bound)
