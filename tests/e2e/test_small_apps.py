"""The small programs, with socat and nc as their peers: half-close, Unix sockets, datagrams, limits, files, figures."""
import datetime
import os
import random
import re
import shutil
import socket
import subprocess
import time

from support import PATIENCE, E2ETest, program, server_environment, wait_until, write_file

PATTERN = "".join("".join(chr(32 + (line + i) % 95) for i in range(72)) + "\r\n" for line in range(95)).encode()


def noise(length, seed=1):
    return random.Random(seed).randbytes(length)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class SmallApp(E2ETest):
    def pipe(self, *command, data=b"", seconds=PATIENCE):
        """What COMMAND prints when DATA, and then the end, is its input."""
        done = subprocess.run([str(word) for word in command], input=data, capture_output=True, timeout=seconds,
                              check=False)
        self.assertEqual(done.returncode, 0, f"{command}: {done.stderr.decode()}")
        return done.stdout

    def answer(self, *command, data):
        """The first bytes, as many as DATA has, that COMMAND prints when DATA and no end is its input."""
        with subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              bufsize=0) as peer:
            try:
                peer.stdin.write(data)
                got = b""
                while len(got) < len(data) and (more := peer.stdout.read(len(data) - len(got))):
                    got += more
                return got
            finally:
                peer.kill()

    def connect(self, server, source=None):
        connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE, source and (source, 0))
        self.addCleanup(connection.close)
        return connection

    def udp(self, name, *args):
        """A server that answers datagrams, and where."""
        server = self.start(name, *args, "--udp", "127.0.0.1:0")
        host, port = server.await_log(r"answering datagrams on (\S+):(\d+)\n").groups()
        return server, (host, int(port))

    def ask(self, address, datagram, receive=True):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(PATIENCE if receive else 0.2)
            client.sendto(datagram, address)
            return client.recv(65536)

    def read_all(self, connection):
        parts = []
        while part := connection.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)


class Echo(SmallApp):
    threaded = True

    def test_half_close(self):
        server, data = self.start("rill-echo"), noise(3_000_000)
        self.assertEqual(self.pipe("nc", "-N", "127.0.0.1", server.port, data=data), data)
        self.assertEqual(self.pipe("socat", "-t", 20, "-", f"TCP:127.0.0.1:{server.port}", data=data), data)
        self.assertEqual(self.pipe("nc", "-N", "127.0.0.1", server.port), b"")

    def test_unix_socket(self):
        path, data = self.folder() + "/echo", noise(1_000_000)
        self.start("rill-echo", listen=[f"unix:{path},mode=600"])
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(self.pipe("nc", "-N", "-U", path, data=data), data)
        self.assertEqual(self.pipe("socat", "-t", 20, "-", f"UNIX-CONNECT:{path}", data=data), data)

    def test_ipv6(self):
        if not has_ipv6():
            self.skipTest("no IPv6 here")
        server, data = self.start("rill-echo", listen=["[::1]:0"]), noise(100_000)
        self.assertEqual(self.pipe("nc", "-6", "-N", "::1", server.port, data=data), data)

    def test_datagrams(self):
        unused, (host, port) = self.udp("rill-echo")
        for length in (1, 1400, 8000):
            data = noise(length)
            self.assertEqual(self.answer("socat", "-b", 65536, "-", f"UDP:{host}:{port}", data=data), data)
        self.assertEqual(self.answer("nc", "-u", host, port, data=b"anybody?"), b"anybody?")
        self.assertEqual(self.ask((host, port), b""), b"")
        self.assertEqual(len(self.ask((host, port), noise(65507))), 65507)

    def test_datagrams_on_all_loops(self):
        for threads in (0, 1, 4):
            server, address = self.udp("rill-echo", "--threads", threads)
            clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for unused in range(40)]
            for turn in range(10):
                for number, client in enumerate(clients):
                    client.settimeout(PATIENCE)
                    client.sendto(f"{number} {turn}".encode(), address)
                for number, client in enumerate(clients):
                    self.assertEqual(client.recv(100), f"{number} {turn}".encode())
            for client in clients:
                client.close()
            server.stop()

    def test_taken_udp_port_is_said(self):
        unused, (host, port) = self.udp("rill-echo", "--threads", 1)
        done = subprocess.run([program("rill-echo"), "--threads", "1", "--listen", "127.0.0.1:0", "--udp",
                               f"{host}:{port}"], capture_output=True, env=server_environment(), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot receive datagrams on", done.stderr)

    def test_who_does_not_read_is_held_back(self):
        server = self.start("rill-echo", "--threads", 1)
        client = self.connect(server)
        before, sent, block = server.rss_bytes(), 0, noise(1 << 16)
        client.settimeout(1)
        try:
            while sent < 200 << 20:
                sent += client.send(block)
        except TimeoutError:
            pass
        self.assertLess(sent, 100 << 20)
        self.assertLess(server.rss_bytes() - before, 32 << 20)
        client.settimeout(PATIENCE)
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(len(self.read_all(client)), sent)

    def test_resets_do_no_harm(self):
        server = self.start("rill-echo")
        for turn in range(50):
            client = server.connect()
            client.send(noise(turn * 1000))
            client.reset()
        self.assertEqual(self.pipe("nc", "-N", "127.0.0.1", server.port, data=b"still there?"), b"still there?")

    def test_stop_ends_connections(self):
        server = self.start("rill-echo")
        client = self.connect(server)
        client.sendall(b"hello")
        self.assertEqual(client.recv(100), b"hello")
        server.stop()
        self.assertEqual(client.recv(100), b"")


class Classics(SmallApp):
    def test_discard(self):
        server, address = self.udp("rill-discard")
        self.assertEqual(self.pipe("nc", "-N", "127.0.0.1", server.port, data=noise(1_000_000)), b"")
        with self.assertRaises(TimeoutError):
            self.ask(address, b"anybody?", receive=False)

    def test_chargen(self):
        server, address = self.udp("rill-chargen")
        for offset in range(0, 512, 100):
            answer = self.ask(address, b"?" * offset)
            self.assertEqual(answer, PATTERN[: len(answer)])
            self.assertLessEqual(len(answer), 512)
        client = self.connect(server)
        got = b""
        while len(got) < 3 * len(PATTERN):
            got += client.recv(100_000)
        self.assertEqual(got[: 3 * len(PATTERN)], 3 * PATTERN)
        time.sleep(0.3)  # nobody reads: it waits
        self.assertLess(server.rss_bytes(), 200 << 20)
        listing = subprocess.run(f"socat -u TCP:127.0.0.1:{server.port} - | head -c 20000", shell=True,
                                 capture_output=True, timeout=PATIENCE, check=False).stdout
        self.assertEqual(listing, (3 * PATTERN)[:20000])

    def test_daytime(self):
        server, address = self.udp("rill-daytime")

        def check(text):
            self.assertTrue(text.endswith(b"-UTC\r\n"), text)
            then = datetime.datetime.strptime(text.decode().strip(), "%A, %B %d, %Y %H:%M:%S-UTC")
            now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
            self.assertLess(abs((now - then).total_seconds()), PATIENCE)

        check(self.pipe("nc", "127.0.0.1", server.port))
        check(self.pipe("nc", "-N", "127.0.0.1", server.port, data=noise(10_000)))
        check(self.pipe("socat", "-u", f"TCP:127.0.0.1:{server.port}", "-"))
        check(self.ask(address, b"what time is it?"))


class Limits(SmallApp):
    threaded = True

    def test_idle_ones_are_told_and_closed(self):
        server = self.start("rill-idle", "--idle-timeout", "2s")
        silent, lively = self.connect(server), self.connect(server)
        began = time.monotonic()
        for unused in range(8):
            lively.sendall(b"busy")
            self.assertEqual(lively.recv(100), b"busy")
            time.sleep(0.4)
        self.assertEqual(self.read_all(silent), b"closing: not a byte for 2 seconds\r\n")
        self.assertEqual(self.read_all(lively), b"closing: not a byte for 2 seconds\r\n")
        self.assertGreater(time.monotonic() - began, 7 * 0.4 + 2)
        waiting = subprocess.run(f"sleep 4 | nc 127.0.0.1 {server.port}", shell=True, capture_output=True, check=False)
        self.assertIn(b"closing:", waiting.stdout)

    def word_of(self, connection):
        """'in' for who is echoed, or why not."""
        connection.settimeout(PATIENCE)
        try:
            connection.sendall(b"in")
            return connection.recv(100).decode().strip()
        except ConnectionResetError:
            return "reset"

    def test_limits(self):
        server = self.start("rill-limit", "--most", 3, "--most-per-address", 2)
        first, second = self.connect(server), self.connect(server)
        self.assertEqual([self.word_of(first), self.word_of(second)], ["in", "in"])
        third = self.connect(server)
        self.assertEqual(self.word_of(third), "busy: too many connections from your address")
        self.assertEqual(self.read_all(third), b"")
        self.assertEqual(self.word_of(self.connect(server, "127.0.0.2")), "in")
        self.assertEqual(self.word_of(self.connect(server, "127.0.0.3")), "busy: there is no room left; try again later")
        first.close()
        wait_until(lambda: self.word_of(self.connect(server, "127.0.0.4")) == "in", "room again")

    def test_limits_hold_over_all_loops(self):
        server = self.start("rill-limit", "--most", 1000, "--most-per-address", 20, "--threads", 4)
        for unused in range(5):
            clients = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for unused in range(60)]
            words = [self.word_of(client) for client in clients]
            self.assertEqual(words.count("in"), 20)
            for client in clients:
                client.close()
            last = self.connect(server, "127.0.0.9")  # behind all that was dealt out before, on its loop at least
            self.assertEqual(self.word_of(last), "in")
            last.close()
            wait_until(lambda: self.free(server) >= 20, "the counts to go down")

    def free(self, server):
        clients = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for unused in range(20)]
        words = [self.word_of(client) for client in clients]
        for client in clients:
            client.close()
        time.sleep(0.1)
        return words.count("in")


class SendFile(SmallApp):
    threaded = True

    def test_every_way(self):
        folder = self.folder()
        for size in (0, 1, 65536, 3_000_007):
            data, path = noise(size), f"{folder}/{size}"
            write_file(path, data)
            for way in ("memory", "pieces", "sendfile"):
                server = self.start("rill-sendfile", "--way", way, path)
                self.assertEqual(self.pipe("nc", "127.0.0.1", server.port), data, way)
                self.assertEqual(self.pipe("nc", "-N", "127.0.0.1", server.port, data=b"words"), data, way)
                joins = [self.in_background(self.read_slowly, server, data) for unused in range(3)]
                for join in joins:
                    join()
                server.stop()

    def read_slowly(self, server, data):
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            time.sleep(0.05)
            self.assertEqual(self.read_all(client), data)

    def test_memory_stays_bounded(self):
        path = self.folder() + "/large"
        write_file(path, noise(1 << 20) * 64)
        for way in ("pieces", "sendfile"):
            server = self.start("rill-sendfile", "--way", way, path)
            before = server.rss_bytes()
            clients = [self.connect(server) for unused in range(20)]
            for client in clients:
                self.assertGreater(len(client.recv(1000)), 0)
            time.sleep(0.3)
            self.assertLess(server.rss_bytes() - before, 64 << 20, way)
            for client in clients:
                client.close()
            server.stop()

    def test_what_cannot_be_sent_is_said(self):
        for operand, status, says in ((["/nonexistent"], 1, b"cannot send /nonexistent: No such file"),
                                      ([self.folder()], 1, b"it is no regular file"), ([], 2, b"no file to send")):
            done = subprocess.run([program("rill-sendfile"), *operand], capture_output=True, env=server_environment(),
                                  check=False, timeout=PATIENCE)
            self.assertEqual(done.returncode, status)
            self.assertIn(says, done.stderr)


class Figures(SmallApp):
    threaded = True

    def run_tool(self, name, *args, expected=0):
        done = subprocess.run([program(name), "--time", "200ms", *map(str, args)], capture_output=True,
                              env=server_environment(), timeout=60, check=False)
        self.assertEqual(done.returncode, expected, done.stderr.decode())
        self.assertNotIn(b"Sanitizer", done.stderr)
        word, *pairs = done.stdout.decode().split() or ["nothing"]
        return word, dict(pair.split("=") for pair in pairs), done.stderr.decode()

    def check_pingpong(self, *args, **wanted):
        word, figures, unused = self.run_tool("rill-pingpong", *args)
        self.assertEqual(word, "pingpong")
        for name, value in wanted.items():
            self.assertEqual(figures[name], str(value))
        self.assertGreater(int(figures["bytes"]), int(figures["size"]))
        self.assertGreater(float(figures["seconds"]), 0.19)
        rate = int(figures["bytes"]) / float(figures["seconds"]) / (1 << 20)
        self.assertAlmostEqual(float(figures["mib_per_second"]) / rate, 1, delta=0.02)  # seconds are rounded

    def test_pingpong(self):
        self.check_pingpong("--connections", 1, "--threads", 0, connections=1, threads=0, loops=1)
        self.check_pingpong("--connections", 7, "--loops", 3, "--size", "1k", connections=7, loops=3, size=1024)
        self.check_pingpong("--connections", 10, "--size", "1m", size=1 << 20)
        self.check_pingpong("--listen", f"unix:{self.folder()}/pingpong", connections=100)

    def test_pingpong_elsewhere(self):
        server = self.start("rill-echo")
        self.check_pingpong(f"127.0.0.1:{server.port}", connections=100)
        self.check_pingpong(f"localhost:{server.port}", connections=100)

    def test_roundtrip(self):
        server = self.start("rill-echo")
        for args in ([], ["--size", "100k"], [f"127.0.0.1:{server.port}"]):
            word, figures, unused = self.run_tool("rill-roundtrip", *args)
            self.assertEqual(word, "roundtrip")
            self.assertGreater(int(figures["round_trips"]), 0)
            steps = [float(figures[name]) for name in ("min_us", "p50_us", "p90_us", "p99_us", "p99.9_us", "max_us")]
            self.assertEqual(steps, sorted(steps))
            self.assertGreater(steps[0], 0)

    def test_nobody_there(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and does not listen
            for name in ("rill-pingpong", "rill-roundtrip"):
                unused, unused, said = self.run_tool(name, f"127.0.0.1:{taken.getsockname()[1]}", expected=1)
                self.assertIn("refused", said.lower())

    def test_one_that_hangs_up(self):
        server = self.start("rill-daytime")
        unused, unused, said = self.run_tool("rill-pingpong", f"127.0.0.1:{server.port}", expected=1)
        self.assertIn("a connection ended", said)


for tool in ("nc", "socat"):
    assert shutil.which(tool), f"{tool} is wanted: scripts/setup --for test"
