"""rill-relay between real clients and servers: who gets whom, what they hear of each other, and how it ends."""
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time
import unittest

from support import E2ETest, have, program, sanitizer, server_environment, wait_until

MB = 1 << 20


class Backend:
    """Accepts in a thread. Says its name to everybody, then hands the connection to SERVE."""

    def __init__(self, name=b"", serve=None, port=0, family=socket.AF_INET):
        self.name, self.serve = name, serve or self.echo
        address = ("127.0.0.1", port) if family == socket.AF_INET else port
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(address)
        self.listener.listen(1000)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}" if family == socket.AF_INET else f"unix:{port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, unused = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        with connection:
            try:
                connection.sendall(self.name)
                self.serve(connection)
            except OSError:
                pass

    @staticmethod
    def echo(connection):
        while data := connection.recv(65536):
            connection.sendall(data)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class RelayTest(E2ETest):
    def backend(self, *args, **options):
        backend = Backend(*args, **options)
        self.addCleanup(backend.listener.close)
        return backend

    def relay(self, *args, to=(), **options):
        for backend in to:
            args += ("--to", backend if isinstance(backend, str) else backend.address)
        return self.start("rill-relay", *args, **options)

    def dial(self, relay, family=socket.AF_INET, address=None):
        connection = socket.socket(family, socket.SOCK_STREAM)
        self.addCleanup(connection.close)
        connection.settimeout(20)
        connection.connect(address or ("127.0.0.1", relay.port))
        return connection

    def hear(self, connection, length):
        data = bytearray()
        while len(data) < length and (more := connection.recv(length - len(data))):
            data += more
        return bytes(data)

    def who(self, connection):
        """The name of the server that was reached."""
        connection.sendall(b"!")
        name = self.hear(connection, 2)
        self.assertEqual(name[1:], b"!")
        return name[:1]

    def assertRefused(self, relay):
        with self.assertRaises(ConnectionResetError):
            self.dial(relay).recv(1)

    def assertReset(self, connection):
        with self.assertRaises(ConnectionResetError):
            while connection.recv(65536):
                pass


class Balance(RelayTest):
    threaded = True

    def test_round_robin_deals_out_in_turn(self):
        relay = self.relay("--threads", 2, to=[self.backend(b"A"), self.backend(b"B"), self.backend(b"C")])
        clients = [self.dial(relay) for unused in range(30)]
        names = [self.who(client) for client in clients]
        for name in (b"A", b"B", b"C"):
            self.assertEqual(names.count(name), 10)

    def test_least_connections_fills_the_gap(self):
        relay = self.relay("--balance", "least-connections", "--threads", 2, "--log-level", "debug",
                           to=[self.backend(b"A"), self.backend(b"B")])  # fmt: skip
        clients = {b"A": [], b"B": []}
        for unused in range(12):
            client = self.dial(relay)
            clients[self.who(client)].append(client)
        self.assertEqual([len(c) for c in clients.values()], [6, 6])
        for client in clients[b"A"][:4]:
            client.close()
        wait_until(lambda: relay.stderr().count(" bytes there") == 4, "four relays to end")
        self.assertEqual([self.who(self.dial(relay)) for unused in range(4)], [b"A"] * 4)

    def test_a_server_that_is_down_is_passed_over_until_it_is_back(self):
        a, b = self.backend(b"A"), self.backend(b"B")
        port = int(b.address.rsplit(":", 1)[1])
        b.close()
        relay = self.relay("--check-interval", "30ms", "--check-failures", 2, to=[a, b])
        for unused in range(6):  # from the first moment on: who finds it down tries the next one
            self.assertEqual(self.who(self.dial(relay)), b"A")
        wait_until(lambda: f"{b.address} is down: cannot connect to {b.address}" in relay.stderr(), "B to be missed")
        self.backend(b"B", port=port)
        wait_until(lambda: f"{b.address} is up again" in relay.stderr(), "B to be found")
        names = [self.who(self.dial(relay)) for unused in range(10)]
        self.assertEqual((names.count(b"A"), names.count(b"B")), (5, 5))
        self.assertEqual(relay.stderr().count(" is down"), 1)

    def test_without_any_server_clients_are_refused(self):
        a, b = self.backend(b"A"), self.backend(b"B")
        port = int(a.address.rsplit(":", 1)[1])
        a.close()
        b.close()
        relay = self.relay("--check-interval", "30ms", to=[a, b])
        for unused in range(3):
            self.assertRefused(relay)
        wait_until(lambda: relay.stderr().count(" is down") == 2, "both to be down")
        self.assertRefused(relay)
        self.backend(b"A", port=port)  # tried even while it is taken to be down
        self.assertEqual(self.who(self.dial(relay)), b"A")

    def test_a_server_that_does_not_answer_has_failed_in_time(self):
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for unused in range(3):  # its backlog; further ones are not answered at all
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        relay = self.relay("--connect-timeout", "150ms",
                           to=[f"127.0.0.1:{full.getsockname()[1]}", self.backend(b"B")])  # fmt: skip
        for unused in range(4):
            self.assertEqual(self.who(self.dial(relay)), b"B")

    def test_names_and_unix_sockets(self):
        path = os.path.join(self.folder(), "socket")
        a, b = self.backend(b"A"), self.backend(b"B", port=path, family=socket.AF_UNIX)
        relay = self.relay(to=[a.address.replace("127.0.0.1", "localhost"), b])
        self.assertEqual({self.who(self.dial(relay)) for unused in range(4)}, {b"A", b"B"})


class Proxy(RelayTest):
    """The PROXY protocol on the connecting side, as the servers see it."""

    def first_bytes(self, *args, listen="127.0.0.1:0", family=socket.AF_INET):
        heard = []

        def serve(connection):
            heard.append(connection.recv(4096, socket.MSG_PEEK))
            while not heard[-1].endswith(b"hello") and heard[-1]:
                heard[-1] = connection.recv(4096, socket.MSG_PEEK)
            connection.sendall(b"k")

        backend = self.backend(serve=serve)
        relay = self.relay(*args, to=[backend], listen=[listen])
        address = relay.addresses[0][5:] if family == socket.AF_UNIX else (
            "::1" if family == socket.AF_INET6 else "127.0.0.1", relay.port)
        client = self.dial(relay, family, address)
        client.sendall(b"hello")
        self.assertEqual(self.hear(client, 1), b"k")
        found = [h for h in heard if h]
        self.assertEqual(len(found), 1)
        self.assertTrue(found[0].endswith(b"hello"), found)
        return found[0][:-5], client.getsockname(), relay.port

    def test_version_1(self):
        header, own, port = self.first_bytes("--proxy", "v1")
        self.assertEqual(header, f"PROXY TCP4 127.0.0.1 127.0.0.1 {own[1]} {port}\r\n".encode())

    def test_version_1_over_ipv6(self):
        header, own, port = self.first_bytes("--proxy", "v1", listen="[::1]:0", family=socket.AF_INET6)
        self.assertEqual(header, f"PROXY TCP6 ::1 ::1 {own[1]} {port}\r\n".encode())

    def test_version_2(self):
        header, own, port = self.first_bytes("--proxy", "v2")
        ip = socket.inet_aton("127.0.0.1")
        self.assertEqual(header, b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + ip + ip + struct.pack(">HH", own[1], port))

    def test_version_2_over_ipv6(self):
        header, own, port = self.first_bytes("--proxy", "v2", listen="[::1]:0", family=socket.AF_INET6)
        ip = socket.inet_pton(socket.AF_INET6, "::1")
        self.assertEqual(header, b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + ip + ip + struct.pack(">HH", own[1], port))

    def test_of_a_unix_client_nothing_is_known(self):
        path = os.path.join(self.folder(), "socket")
        header, unused, unused = self.first_bytes("--proxy", "v1", listen=f"unix:{path}", family=socket.AF_UNIX)
        self.assertEqual(header, b"PROXY UNKNOWN\r\n")

    def test_off_is_off(self):
        self.assertEqual(self.first_bytes()[0], b"")


class Streams(RelayTest):
    threaded = True

    def test_half_closing_by_the_client_first(self):
        def serve(connection):
            request = b""
            while data := connection.recv(65536):
                request += data
            connection.sendall(b"you said " + request)

        relay = self.relay(to=[self.backend(serve=serve)])
        client = self.dial(relay)
        client.sendall(b"all of it")
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(self.hear(client, 100), b"you said all of it")

    def test_half_closing_by_the_server_first(self):
        heard = []

        def serve(connection):
            connection.sendall(b"that was all")
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65536):
                heard.append(data)
            heard.append(b"|")

        relay = self.relay("--check-interval", "0s", to=[self.backend(serve=serve)])
        client = self.dial(relay)
        self.assertEqual(self.hear(client, 100), b"that was all")
        for i in range(5):
            client.sendall(b"still %d" % i)
            time.sleep(0.01)
        client.close()
        wait_until(lambda: b"still 4|" in b"".join(heard), "the server to hear the end")
        self.assertEqual(b"".join(heard), b"still 0still 1still 2still 3still 4|")

    def test_a_reset_goes_through(self):
        felt = []

        def serve(connection):
            try:
                while data := connection.recv(65536):
                    if data == b"reset!":
                        reset(connection)
                        return
                    connection.sendall(data)
            except ConnectionResetError:
                felt.append(True)

        relay = self.relay("--check-interval", "0s", to=[self.backend(serve=serve)])
        client = self.dial(relay)
        client.sendall(b"reset!")
        self.assertReset(client)
        client = self.dial(relay)
        client.sendall(b"...")
        self.assertEqual(self.hear(client, 3), b"...")
        reset(client)
        wait_until(lambda: felt, "the server to feel the reset")

    def transfer(self, *args, length):
        """Random bytes to an echo and back, written and read at the same time."""
        sent = os.urandom(MB) * (length // MB)
        relay = self.relay(*args, to=[self.backend()])
        client = self.dial(relay)

        def send():
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)

        join = self.in_background(send)
        got = self.hear(client, length + 1)
        join()
        self.assertEqual(len(got), length)
        self.assertTrue(got == sent)

    def test_much_goes_both_ways_spliced(self):
        self.transfer(length=32 * MB)

    def test_much_goes_both_ways_copied(self):
        self.transfer("--copy", length=32 * MB)

    def test_much_goes_both_ways_with_poll(self):
        self.transfer("--backend", "poll", "--threads", 0, length=8 * MB)

    def test_a_slow_reader_costs_bounded_memory(self):
        def serve(connection):
            while True:
                connection.sendall(bytes(MB))

        relay = self.relay("--copy", to=[self.backend(serve=serve)])
        self.dial(relay).close()
        before = relay.rss_bytes()
        clients = [self.dial(relay) for unused in range(20)]
        for client in clients:
            client.recv(1)
        time.sleep(0.5)
        self.assertLess(relay.rss_bytes() - before, (20 if sanitizer() else 6) * MB)

    def test_idle_relays_end(self):
        relay = self.relay("--idle-timeout", "2s", to=[self.backend(b"A")])
        client = self.dial(relay)
        for unused in range(5):
            time.sleep(0.5)
            client.sendall(b".")
        self.assertEqual(self.hear(client, 6), b"A.....")
        self.assertEqual(client.recv(1), b"")

    def test_descriptors(self):
        """Two for a relay, and none is left; at rest no pipes beyond those that are kept."""
        relay = self.relay("--threads", 1, "--check-interval", "0s", to=[self.backend(b"A")])
        first = self.dial(relay)
        self.assertEqual(self.who(first), b"A")
        before = relay.descriptors() - 2  # those of the first one, which is open still
        clients = [self.dial(relay) for unused in range(50)]
        for client in clients:
            self.assertEqual(self.who(client), b"A")
        self.assertEqual(relay.descriptors(), before + 2 + 2 * 50)
        for client in clients:
            client.close()
        wait_until(lambda: relay.descriptors() == before + 2, "the descriptors to be closed")

    def test_without_descriptors_for_pipes_it_copies(self):
        backend = self.backend(b"")
        relay = self.relay("--threads", 0, "--workers", 1, "--check-interval", "0s", to=[backend], nofile=64)
        clients = []
        while relay.descriptors() < 63:  # idle ones, until there is no room for a pipe
            client = self.dial(relay)
            client.sendall(b"?")
            client.settimeout(5)
            try:
                if self.hear(client, 1) != b"?":
                    break
            except (socket.timeout, ConnectionResetError):
                break
            clients.append(client)
        self.assertGreaterEqual(relay.descriptors(), 62)
        client, sent = clients[-1], os.urandom(16 * MB)
        client.settimeout(20)
        join = self.in_background(client.sendall, sent)
        got = self.hear(client, len(sent))
        join()
        self.assertTrue(got == sent)


class Life(RelayTest):
    def test_draining_lets_relays_end(self):
        relay = self.relay(to=[self.backend(b"A")])
        client = self.dial(relay)
        self.assertEqual(self.who(client), b"A")
        relay.signal(signal.SIGTERM)
        wait_until(lambda: "draining" in relay.stderr(), "the relay to drain")
        client.sendall(b"on its way")
        self.assertEqual(self.hear(client, 10), b"on its way")
        self.assertIsNone(relay.process.poll())
        client.close()
        self.assertEqual(relay.wait_exit(), 0)

    def test_stopping_ends_all_that_is_left(self):
        relay = self.relay("--drain-timeout", "100ms", to=[self.backend(b"A")])
        client = self.dial(relay)
        self.assertEqual(self.who(client), b"A")
        relay.signal(signal.SIGTERM)
        self.assertEqual(relay.wait_exit(), 0)
        self.assertEqual(client.recv(1), b"")

    def test_usage(self):
        to = ["--to", "127.0.0.1:1"]
        table = [([], "--to"), (["--to", "nonsense"], "--to"), (["--to", "127.0.0.1:99999"], "--to"),
                 ([*to, "--balance", "fair"], "round-robin"), ([*to, "--proxy", "v3"], "v1 or v2"),
                 ([*to, "--check-failures", "0"], "--check-failures"), ([*to, "--check-interval", "x"], "--check-interval"),
                 (to * 65, "64")]  # fmt: skip
        for args, says in table:
            with self.subTest(args=args[:4]):
                result = subprocess.run([program("rill-relay"), *args], capture_output=True, text=True, timeout=20,
                                        env=server_environment())  # fmt: skip
                self.assertEqual(result.returncode, 2)
                self.assertRegex(result.stderr, r"\Arill-relay: [^\n]+\n\Z")
                self.assertIn(says, result.stderr)


class RealPeers(RelayTest):
    @unittest.skipUnless(have("iperf3"), "iperf3 is not installed")
    def test_iperf3_measures_through_it(self):
        for direction in ([], ["--reverse"], ["--bidir"]):
            with self.subTest(direction=direction):
                self.iperf3("-P", "2", *direction)

    def iperf3(self, *args):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        server = subprocess.Popen(["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)

        def listens():
            with open("/proc/net/tcp") as file:
                return f"0100007F:{port:04X} 00000000:0000 0A" in file.read()

        wait_until(listens, "iperf3 to listen")
        relay = self.relay("--check-interval", "0s", to=[f"127.0.0.1:{port}"])  # a check would count as the client
        result = subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", str(relay.port), "-n", "160M", "--json", *args],
                                capture_output=True, text=True, timeout=60)  # fmt: skip
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        end = json.loads(result.stdout)["end"]
        # What is still on its way when all has been sent does not count: as much as the sockets' buffers may hold.
        self.assertGreater(end["sum_received"]["bytes"], MB)

    @unittest.skipUnless(have("curl"), "curl is not installed")
    def test_curl_speaks_http_through_it(self):
        web = self.start("rill-hello")
        relay = self.relay(to=[f"127.0.0.1:{web.port}"])
        result = subprocess.run(["curl", "-sS", f"http://127.0.0.1:{relay.port}/hello/relay"], capture_output=True,
                                text=True, timeout=20)  # fmt: skip
        self.assertEqual((result.returncode, result.stdout), (0, "Hello, relay!"), result.stderr)
