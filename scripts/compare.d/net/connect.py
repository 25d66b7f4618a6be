"""Connect and close: rill_connect() beside a plain epoll client, to an acceptor that closes what it accepts."""
from net.rig import Peer, Served
from net.tables import Column, busy, of_groups
from rounds import interleaved
from servers import ServerError
from session import say

AT_A_TIME = (1, 32)

COLUMNS = [
    Column("connections/s", "rate", ratio=True, spread=True),
    Column("CPU us each", "cpu_us", 2, ratio=True),
    Column("user us each", "user_us", 2, ratio=True),
    *busy("client", "acceptor"),
]


def run(rig):
    rig.place(1)
    acceptor, plain = rig.compile("acceptor"), rig.compile("connect_epoll")
    clients = {"rill": rig.bin / "bench_connect", "epoll": plain}
    if not clients["rill"].exists():
        raise ServerError(f"{clients['rill']} is not there; it is built where Debian's package check is installed")
    server = Peer("acceptor", argv=lambda port, _: [str(acceptor), str(port)])
    groups = []
    for at_a_time in AT_A_TIME:
        say(f" {at_a_time} at a time")

        def measure(client, at_a_time=at_a_time):
            with Served(server, rig.scratch, rig.load_cpus) as running:
                return rig.window([clients[client.name], running.port, at_a_time], running, measured="load")

        results = rig.keep(interleaved([Peer(name, argv=list) for name in clients], rig.rounds, say, measure))
        groups.append((str(at_a_time), results, results["epoll"]))
        for label, what, bound in (("connections/s", "rate", {"at_least": 1.0}),
                                   ("CPU each", "cpu_us", {"at_most": 1.0})):  # fmt: skip
            rig.targets.ratio(f"connect + close, {at_a_time} at a time", label, results["rill"], results["epoll"], what,
                              base_name="plain epoll", **bound)  # fmt: skip
    rig.show(of_groups("Connect and close", ("at a time", "client"), COLUMNS, groups,
                       ["x: ratio to the plain epoll client"]))  # fmt: skip
