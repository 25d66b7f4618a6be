"""Broadcast: 100 bytes to ten thousand connections on two loops. Sending is one system call a member, whoever does it;
what the server spends besides is its own."""
import socket

from net.rig import Peer
from net.tables import Column, busy, of_groups
from servers import ServerError
from session import say

LOOPS, MEMBERS, QUICK_MEMBERS, MESSAGE_BYTES = 2, 10000, 1000, 100
BEYOND = 15

COLUMNS = [
    Column("deliveries/s", "rate"),
    Column("CPU us each", "cpu_us", 2),
    Column("user us each", "user_us", 2),
    Column("beyond system calls %", "user_share", 1, 100),
    Column("p50 us to all", "p50_us"),
    Column("p99 us to all", "p99_us"),
    *busy("server", "members"),
]


def check(port):
    """A message comes to a member, once."""
    with socket.create_connection(("127.0.0.1", port), 5) as member:
        member.sendall(b"sub check\r\n")
        member.settimeout(0.3)
        with socket.create_connection(("127.0.0.1", port), 5) as publisher:
            got = b""
            try:
                member.recv(1000)  # a hub may confirm
            except TimeoutError:
                pass
            publisher.sendall(b"pub check what-is-said\r\n")
            try:
                while more := member.recv(1000):
                    got += more
            except TimeoutError:
                pass
            if got.count(b"what-is-said") != 1:
                raise ServerError(f"of one message a member got {got!r}")


def run(rig):
    notes = rig.place(LOOPS)
    load = rig.compile("load_broadcast")
    members = QUICK_MEMBERS if rig.args.quick else MEMBERS
    plain = rig.compile("hub_epoll")
    hubs = [rig.rill("rill-hub", check, LOOPS),
            Peer("plain", argv=lambda port, _: [str(plain), str(port), "1"], check=check)]  # fmt: skip
    say(f" {members} members")
    results = rig.rounds_of(hubs, lambda port: [load, port, members, MESSAGE_BYTES])
    rig.show(of_groups(f"Broadcast of {MESSAGE_BYTES} bytes", ("members", "server"), COLUMNS,
                       [(str(members), results, None)],
                       [*notes, "plain: one loop that does nothing but send",
                        "the next is published when everyone has the one before"]))  # fmt: skip
    promise(rig, f"broadcast to {members}", results["rill"])


def promise(rig, load, result):
    share = result.median("user_share") * 100 if result.good else None
    rig.targets.add(load, f"CPU beyond the system calls under {BEYOND} %", f"{share:.1f} %" if result.good else "-",
                    share < BEYOND if result.good else None)  # fmt: skip
