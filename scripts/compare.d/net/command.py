"""Measures servers and clients written on Rill's net library beside others that do the same.

One thread a server where nothing else is said, the server on one CPU and the load generator on another, the rounds of
all servers interleaved. The generators are ours and cheaper than any server; how busy they were is in the tables.

rows:
  echo        messages of 16 KiB, 1 to 1000 connections, 1 and 2 loops: libevent, libuv, a plain epoll loop
  broadcast   100 bytes to 10,000 connections on 2 loops: what is spent beyond the system calls
  relay       one stream and a hundred: HAProxy in TCP mode
  cache       64 connections, a tenth of the requests a set, 1 and 2 threads: memcached
  post        posts from another thread into one loop
  connect     connect and close: a plain epoll client
  all         all of them (the default); about 20 minutes
"""
import argparse
import datetime
import shutil
from pathlib import Path

import machine
import proc
import session
from net import broadcast, cache, connect, echo, post, relay
from net.rig import Rig
from servers import ServerError
from session import TOP, say

ROWS = {"echo": echo, "broadcast": broadcast, "relay": relay, "cache": cache, "post": post, "connect": connect}


def numbers(parser, text):
    """The numbers in TEXT, with commas between them, each at least 1."""
    words = text.split(",")
    if not all(word.isdecimal() and int(word) > 0 for word in words):
        parser.error(f"'{text}' is no list of numbers such as 1,10,100")
    return [int(word) for word in words]


def parse_args(words):
    parser = argparse.ArgumentParser(prog="scripts/compare net", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("rows", nargs="*", metavar="ROW", help="what to measure (default: all)")
    parser.add_argument("--quick", action="store_true", help="one round of a second, and fewer connections: a look")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each load (default: 5)")
    parser.add_argument("--duration", type=float, metavar="S", help="seconds a round (default: 3)")
    parser.add_argument("--connections", metavar="N,...", help="echo: with so many (default: 1,10,100,1000)")
    parser.add_argument("--loops", metavar="N,...", help="echo: on so many loops (default: 1,2)")
    parser.add_argument("--markdown", metavar="FILE", help="write the tables there too, as Markdown")
    parser.add_argument("--muduo", type=Path, metavar="DIR", help="a checkout of muduo: its pingpong server beside")
    parser.add_argument("--bin", type=Path, metavar="DIR",
                        help="take Rill's programs from DIR; nothing is installed or built")  # fmt: skip
    args = parser.parse_args(words)
    wrong = [name for name in args.rows if name not in [*ROWS, "all"]]
    if wrong:
        parser.error(f"there is no row '{wrong[0]}'; choose from: {' '.join(['all', *ROWS])}")
    args.rows = [name for name in ROWS if not args.rows or name in args.rows or "all" in args.rows]
    args.rounds = args.rounds or (1 if args.quick else 5)
    args.duration = args.duration or (1 if args.quick else 3)
    if args.rounds < 1 or args.duration < 0.1:
        parser.error("--rounds wants at least 1, --duration at least 0.1")
    args.connections = numbers(parser, args.connections or ("1,100" if args.quick else "1,10,100,1000"))
    args.loops = numbers(parser, args.loops or "1,2")
    args.built = args.bin is not None
    args.bin = (args.bin or TOP / "build" / "release" / "bin").resolve()
    args.muduo = args.muduo and args.muduo.resolve()
    return args


def run(rig, name):
    say(f"{name} ...")
    try:
        ROWS[name].run(rig)
    except (ServerError, TimeoutError) as error:
        rig.failed = True
        rig.targets.add(name, "-", "-", None)
        say(f"compare: {name}: {error}")


def main(words):
    args = parse_args(words)
    lock = session.prepare(build=not args.built)
    rig = Rig(args)
    about = machine.describe(machine.NET)
    about += [f"{datetime.date.today()}, {args.rounds} rounds of {args.duration} s, medians; server on CPU "
              f"{min(rig.server_cpus)}, its load on CPU {min(rig.load_cpus)}",
              "CPU time as the scheduler counts it; how much is user time by the clock tick, all rounds together"]
    if len(rig.cpus) < 2:
        about.append("only one CPU: server and load generator share it, and the rates are not worth much")
    print("\n".join(about), flush=True)
    for name in args.rows:
        run(rig, name)
    if rig.targets.rows:
        rig.show(rig.targets.table())
    if args.markdown:
        session.write_markdown(args.markdown, rig.blocks, about)
    proc.stop_all()
    shutil.rmtree(rig.scratch, ignore_errors=True)
    lock.close()
    return 1 if rig.failed else 0
