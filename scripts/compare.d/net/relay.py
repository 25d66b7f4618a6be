"""Relay: bytes from one connection to another, one stream and a hundred, beside HAProxy in TCP mode."""
import os
import socket

from net.rig import Peer, best
from net.tables import Column, busy, counted, of_groups
from servers import ServerError
from session import say

STREAMS = (1, 100)
MB, CHECK_BYTES = 10**6, 1 << 20

# A microsecond for each MB is a millisecond for each GB.
COLUMNS = [
    Column("MB/s", "rate", ratio=True, spread=True),
    Column("CPU ms/GB", "cpu_us", 1, ratio=True),
    Column("user ms/GB", "user_us", 1),
    *busy("relay", "both ends"),
]

HAPROXY_CONFIG = """\
global
    nbthread 1
    maxconn 4000
    {tuning}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    {option}
listen relay
    bind 127.0.0.1:{port}
    server sink 127.0.0.1:{to}
"""


def haproxy(name, to, check, tuning="", option=""):
    def argv(port, scratch):
        config = scratch / "haproxy.cfg"
        config.write_text(HAPROXY_CONFIG.format(port=port, to=to, tuning=tuning, option=option))
        return ["haproxy", "-db", "-f", str(config)]

    return Peer(name, argv=argv, check=check)


def checker(sink):
    """Whether bytes arrive unchanged, both ways, at the other end, where SINK listens."""

    def accept(first):
        while True:  # what comes without a byte only looked whether anyone listens
            connection, _ = sink.accept()
            connection.settimeout(5)
            if connection.recv(1) == first:
                return connection
            connection.close()

    def pass_through(source, target):
        sent, got = os.urandom(CHECK_BYTES), bytearray()
        for at in range(0, CHECK_BYTES, 16384):
            source.sendall(sent[at : at + 16384])
            while len(got) < at + 16384:
                more = target.recv(65536)
                if not more:
                    raise ServerError("a stream ended too early")
                got += more
        if got != sent:
            raise ServerError("what came out is not what went in")

    def check(port):
        with socket.create_connection(("127.0.0.1", port), 5) as near:
            near.sendall(b"?")
            with accept(b"?") as far:
                pass_through(near, far)
                pass_through(far, near)

    return check


def run(rig):
    load = rig.compile("load_relay")
    rig.place(1)
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as sink:
        sink.settimeout(5)
        to, check = sink.getsockname()[1], checker(sink)
        haproxies = [haproxy("haproxy", to, check),
                     haproxy("haproxy splice", to, check, option="option splice-request"),
                     haproxy("haproxy 64k", to, check, tuning="tune.bufsize 65536")]  # fmt: skip
        peers = [rig.rill("rill-relay", check, options=("--to", f"127.0.0.1:{to}")), *haproxies]
        names, groups = [peer.name for peer in haproxies], []
        for streams in STREAMS:
            label = counted(streams, "stream")
            say(f" {label}")
            results = rig.rounds_of(peers, lambda port, streams=streams: [load, port, sink.fileno(), streams],
                                    pass_fds=[sink.fileno()], unit=MB)  # fmt: skip
            groups.append((str(streams), results, best(results, names, "rate")))
            promise(rig, f"relay, {label}", results, names)
    rig.show(of_groups("Relay", ("streams", "relay"), COLUMNS, groups, [
        "x: ratio to the HAProxy that is fastest; each has one thread",
        "splice: option splice-request; 64k: tune.bufsize 65536"]))  # fmt: skip


def promise(rig, load, results, names):
    for label, what, most, bound in (("MB/s", "rate", True, {"at_least": 1.0}),
                                     ("CPU a GB", "cpu_us", False, {"at_most": 1.0})):  # fmt: skip
        base = best(results, names, what, most)
        rig.targets.ratio(load, label, results["rill"], base, what, base_name=base.name if base else "haproxy", **bound)
