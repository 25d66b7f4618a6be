"""What one keep-alive request costs, counted: system calls (strace -c) and user-mode instructions (callgrind).

A server is run twice, for two different numbers of requests, and the difference is divided by the difference: its
start and its end cancel out. Neither figure cares how busy the machine is."""
import os
import re

import client
import proc
from servers import Running, ServerError

FEW, MANY = 1280, 2560  # both divide by the connections
END_S = 20.0


def _run(contender, scratch, cpus, wrapper, requests, connections):
    with Running(contender, scratch, cpus, wrapper, start_s=30.0) as server:
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # beside the server, so that its requests wait together for its turn
        try:
            client.exchange(server.port, contender.path, requests, connections)
        except (OSError, client.ReplyError) as error:
            raise ServerError(f"{contender.name}: {error}") from None
        finally:
            os.sched_setaffinity(0, mine)
        for pid in proc.tree(server.pid)[1:2] or [server.pid]:
            os.kill(pid, 15)  # the server below strace; valgrind is the server itself
        proc.stop(server.process, END_S)
        return server.scratch


def system_calls(contender, scratch, cpus, connections):
    """{name: calls a request}."""

    def counted(requests):
        output = scratch / f"strace-{contender.name}-{connections}-{requests}"
        _run(contender, scratch, cpus, ["strace", "-f", "-c", "-o", str(output)], requests, connections)
        calls = {}
        for line in output.read_text().splitlines():
            row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
            if row and row.group(2) != "total":
                calls[row.group(2)] = calls.get(row.group(2), 0) + int(row.group(1))
        if not calls:
            raise ServerError(f"{contender.name}: strace counted nothing")
        return calls

    few, many = counted(FEW), counted(MANY)
    each = {name: (many[name] - few.get(name, 0)) / (MANY - FEW) for name in many}
    return {name: value for name, value in sorted(each.items(), key=lambda item: -item[1]) if value >= 0.005}


def instructions(contender, scratch, cpus, connections):
    """User-mode instructions a request, of all the server's threads and processes."""

    def counted(requests):
        where = scratch / f"callgrind-{contender.name}-{connections}-{requests}"
        where.mkdir()
        wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={where}/out.%p", "--quiet"]
        _run(contender, scratch, cpus, wrapper, requests, connections)
        total = 0
        for file in where.iterdir():
            found = re.search(r"^(?:summary|totals): (\d+)", file.read_text(errors="replace"), re.MULTILINE)
            total += int(found.group(1)) if found else 0
        if not total:
            raise ServerError(f"{contender.name}: callgrind counted nothing")
        return total

    few, many = counted(FEW), counted(MANY)
    return (many - few) / (MANY - FEW)
