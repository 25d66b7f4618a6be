"""A plain client over blocking sockets, for what is counted rather than timed."""
import re
import socket
import time

IP_BIND_ADDRESS_NO_PORT = 24
CONNECTIONS_AN_ADDRESS = 5000
MAX_FAILURES = 5
OPEN_LIMIT_S = 60


class ReplyError(Exception):
    """A connection was refused or cut, or a reply was not the one expected."""


def get(path):
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def connect(port, source=None):
    connection = socket.socket()
    connection.settimeout(5)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        connection.connect(("127.0.0.1", port))
    except OSError:
        connection.close()
        raise
    return connection


def read_reply(connection):
    """Reads one whole reply; returns its length. The body must be announced by Content-Length."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += _some(connection)
    head, _, body = got.partition(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length:\s*(\d+)", head, re.IGNORECASE)
    if not head.startswith(b"HTTP/1.1 200") or not length:
        raise ReplyError(f"not a 200 with a Content-Length: {head.splitlines()[0]!r}")
    missing = int(length.group(1)) - len(body)
    while missing > 0:
        missing -= len(_some(connection))
    if missing < 0:
        raise ReplyError(f"{-missing} bytes more than the reply said")
    return len(head) + 4 + int(length.group(1))


def _some(connection):
    got = connection.recv(65536)
    if not got:
        raise ReplyError("the server closed the connection")
    return got


def exchange(port, path, requests, connection_count):
    """Sends REQUESTS in all over CONNECTION_COUNT keep-alive connections, one on each at a time: all the
    requests go out before the first reply is read, so that a server finds them together."""
    wanted = get(path)
    connections = [connect(port) for _ in range(connection_count)]
    try:
        for _ in range(requests // connection_count):
            for connection in connections:
                connection.sendall(wanted)
            for connection in connections:
                read_reply(connection)
    finally:
        for connection in connections:
            connection.close()


def open_idle(port, path, count):
    """COUNT connections that had one reply each, from several source addresses. Returns (connections, failures);
    gives up after a few failures, which take seconds each, and after a minute."""
    wanted, connections, failed, end = get(path), [], 0, time.monotonic() + OPEN_LIMIT_S
    for number in range(count):
        try:
            connection = connect(port, f"127.0.0.{2 + number // CONNECTIONS_AN_ADDRESS}")
            connections.append(connection)
            connection.sendall(wanted)
            read_reply(connection)
        except (OSError, ReplyError):
            failed += 1
        if failed >= MAX_FAILURES or time.monotonic() > end:
            return connections, failed + count - number - 1
    return connections, failed


def still_open(connections):
    """How many of them the server has neither closed nor written to."""
    count = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            connection.recv(1)
        except BlockingIOError:
            count += 1
        except OSError:
            pass
    return count
