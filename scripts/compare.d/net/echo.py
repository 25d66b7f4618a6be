"""Echo: messages of 16 KiB, from one connection to a thousand, on one loop and on two."""
import os
import socket
import subprocess

from net.rig import Peer, best
from net.tables import Column, busy, counted, of_groups
from servers import ServerError
from session import OUT, say

MESSAGE_BYTES = 16 * 1024
LIBRARIES = ("libevent", "libuv")
NOTE = "libevent reads at most 4 KiB a call, and asks before each how much there is"

COLUMNS = [
    Column("MB/s", "rate", 0, MESSAGE_BYTES / 1e6, ratio=True, spread=True),
    Column("CPU us/message", "cpu_us", 2, ratio=True),
    Column("user us/message", "user_us", 2),
    Column("p50 us", "p50_us"),
    Column("p99 us", "p99_us"),
    *busy(),
]


def check(port):
    """What comes back is what was sent."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        for _ in range(16):
            sent, got = os.urandom(MESSAGE_BYTES), b""
            connection.sendall(sent)
            while len(got) < len(sent):
                more = connection.recv(len(sent) - len(got))
                if not more:
                    raise ServerError("closed the connection")
                got += more
            if got != sent:
                raise ServerError("what came back is not what was sent")


def muduo(directory):
    """muduo's own pingpong server, built from a checkout of it but outside of that. It wants Boost's headers."""
    program = OUT / "echo_muduo"
    say(f"  building muduo's pingpong server from {directory}")
    sources = [directory / "examples" / "pingpong" / "server.cc"]
    for folder in ("base", "net", "net/poller"):
        sources += (directory / "muduo" / folder).glob("*.cc")
    sources = [source for source in sources if source.name != "boilerplate.cc"]  # a form to fill in
    argv = ["c++", "-std=c++11", "-O2", "-DNDEBUG", "-pthread", "-I", directory, "-o", program, *sources]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"cannot build muduo's pingpong server: {done.stderr.strip().splitlines()[0]}")
    return program


def contenders(rig):
    """Functions of the number of loops."""
    ours = {"epoll": rig.compile("echo_epoll"), "libevent": rig.compile("echo_libevent", "event_core"),
            "libuv": rig.compile("echo_uv", "uv")}  # fmt: skip

    def peer(name, *command):
        return lambda loops: Peer(name, argv=lambda port, _: [*map(str, command), str(port), str(loops)], check=check)

    found = [lambda loops: rig.rill("rill-echo", check, loops), *(peer(*both) for both in ours.items())]
    if rig.args.muduo:
        found.append(peer("muduo", muduo(rig.args.muduo), "127.0.0.1"))
    return found


def run(rig):
    everyone = contenders(rig)
    load = rig.compile("load_echo")
    for loops in rig.args.loops:
        notes, groups = rig.place(loops), []
        for connections in rig.args.connections:
            label = f"{counted(connections, 'connection')}, {counted(loops, 'loop')}"
            say(f" {label}")
            results = rig.rounds_of([make(loops) for make in everyone], lambda port, connections=connections: [
                load, port, connections, MESSAGE_BYTES, rig.load_threads])  # fmt: skip
            groups.append((str(connections), results, results["epoll"]))
            promise(rig, f"echo, {label}", results)
        rig.show(of_groups(f"Echo, messages of 16 KiB, {counted(loops, 'loop')}", ("connections", "server"),
                           COLUMNS, groups, [*notes, "x: ratio to the plain epoll loop", NOTE]))  # fmt: skip


def promise(rig, load, results):
    rill, plain, library = results["rill"], results["epoll"], best(results, LIBRARIES, "rate")
    cpu = ("CPU a message", rill, "cpu_us")
    rig.targets.ratio(load, "MB/s", rill, library, "rate", at_least=1.1, base_name=library.name if library else "libuv",
                      beside=[("plain epoll", plain, "rate"), cpu])  # fmt: skip
    rig.targets.ratio(load, "MB/s", rill, plain, "rate", at_least=0.95, base_name="plain epoll", beside=[cpu])
