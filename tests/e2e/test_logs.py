"""The logs: the combined format with the duration, escapes, standard output, readers who fall behind, full disks."""
import os
import re
import resource
import socket
import time

from support import PATIENCE, Client, E2ETest, make_request, wait_until, write_file

LINE = re.compile(r'(?P<peer>\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?P<request>[^"]*)" (?P<status>\d{3}) '
                  r'(?P<bytes>\d+|-) "(?P<referer>[^"]*)" "(?P<agent>[^"]*)" (?P<duration>\d+\.\d+)\n')


def read(path):
    with open(path, "rb") as file:
        return file.read()


class AccessLog(E2ETest):
    def setUp(self):
        self.site = self.folder()
        write_file(f"{self.site}/a.txt", b"hello")
        self.logs = self.folder()
        self.path = f"{self.logs}/access.log"

    def lines(self, path=None):
        with open(path or self.path) as file:
            lines = file.readlines()
        matches = [LINE.fullmatch(line) for line in lines]
        self.assertNotIn(None, matches, lines)
        return matches

    def test_format(self):
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
        server.get("/a.txt?x=1", ["Referer: http://test/from", "User-Agent: tester/1.0"])
        server.get("/nothing")
        server.get("/a.txt", ["Range: bytes=0-1"])
        server.get("/a.txt", method="HEAD")
        server.get("/a.txt", ["If-None-Match: *"])
        server.get("/a.txt", method="POST")
        with server.connect() as client:
            client.request("GET", "/a.txt", version="1.0")
        server.stop()
        got = [(m["request"], m["status"], m["bytes"]) for m in self.lines()]
        self.assertEqual(got[0], ("GET /a.txt?x=1 HTTP/1.1", "200", "5"))
        self.assertEqual(got[1][:2], ("GET /nothing HTTP/1.1", "404"))
        self.assertEqual(got[2], ("GET /a.txt HTTP/1.1", "206", "2"))
        self.assertEqual(got[3][:2], ("HEAD /a.txt HTTP/1.1", "200"))
        self.assertIn(got[3][2], ("0", "-"))
        self.assertEqual(got[4][:2], ("GET /a.txt HTTP/1.1", "304"))
        self.assertEqual(got[5][:2], ("POST /a.txt HTTP/1.1", "405"))
        self.assertEqual(got[6], ("GET /a.txt HTTP/1.0", "200", "5"))
        first, second = self.lines()[:2]
        self.assertEqual((first["peer"], first["referer"], first["agent"]), ("127.0.0.1", "http://test/from", "tester/1.0"))
        self.assertEqual((second["referer"], second["agent"]), ("-", "-"))

    def test_the_longest_lines_are_whole(self):
        """All that a client can put into a line, in so many lines that one has to end where the ring does."""
        ring_bytes, room = 1 << 20, 3 * 4 * 512 + 256
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
        target, long = b"/?" + b"\\" * 600, b"\xff" * 600

        def ask(client, method):
            client.send(method + b" " + target + b" HTTP/1.1\r\nHost: a\r\nReferer: " + long + b"\r\nUser-Agent: " + long + b"\r\n\r\n")
            self.assertEqual(client.read_response().status, 405)

        def expected(method):
            return (f"{method.decode()} /?" + "\\x5c" * 510 + " HTTP/1.1", "405", "\\xff" * 512, "\\xff" * 512)

        with server.connect() as client:
            ask(client, b"M" * 512)
            wait_until(lambda: read(self.path).endswith(b"\n"), "the first line")
            first = os.path.getsize(self.path)
            # Of equal lines behind the first one, the last in the ring has more than `room`, and less than it takes.
            fitting = [(length, count) for length in range(first - 200, first) for count in range(100, 200)
                       if room <= ring_bytes - first - count * length < length]  # fmt: skip
            length, count = fitting[0]
            method = b"M" * (512 - (first - length))
            for _ in range(count + 5):
                ask(client, method)
        server.stop()
        got = [(m["request"], m["status"], m["referer"], m["agent"]) for m in self.lines()]
        self.assertEqual(got, [expected(b"M" * 512)] + [expected(method)] * (count + 5))

    def test_what_clients_send_is_escaped(self):
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
        agent = 'a"b\\c\td\xe4'
        server.get("/a.txt", [f"User-Agent: {agent}"])
        server.get("/%0a%0d%22%1b")
        server.stop()
        lines = self.lines()
        self.assertEqual(len(lines), 2)
        for byte in ('"', "\t", "\xe4", "\x1b"):
            self.assertNotIn(byte, lines[0]["agent"])

    def test_refused_requests_are_in_it(self):
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
        with server.connect() as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
            self.assertEqual(client.read_response().status, 400)
        server.stop()
        self.assertEqual([m["status"] for m in self.lines()], ["400"])

    def test_standard_output(self):
        with open(self.path, "wb") as out:
            server = self.httpd(self.site, "--access-log", "stdout", "--threads", 1, stdout=out)
        for _ in range(10):
            server.get("/a.txt")
        server.stop()
        self.assertEqual(len(self.lines()), 10)

    def test_lines_appear_soon(self):
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
        server.get("/a.txt")
        wait_until(lambda: os.path.exists(self.path) and os.path.getsize(self.path) > 0, "the line", 5)

    def test_off(self):
        with open(self.path, "wb") as out:
            server = self.httpd(self.site, "--access-log", "off", "--threads", 1, stdout=out)
        server.get("/a.txt")
        server.stop()
        self.assertEqual(os.path.getsize(self.path), 0)

    def test_appended_to(self):
        for _ in range(2):
            server = self.httpd(self.site, "--access-log", self.path, "--threads", 1)
            server.get("/a.txt")
            server.stop()
        self.assertEqual(len(self.lines()), 2)

    def test_every_request_is_in_it(self):
        server = self.httpd(self.site, "--access-log", self.path, "--threads", 2)

        def load(number):
            with server.connect() as client:
                for i in range(0, 500, 10):
                    client.send(b"".join(make_request("GET", f"/a.txt?{number}-{i + k}") for k in range(10)))
                    for _ in range(10):
                        self.assertEqual(client.read_response().body, b"hello")

        joins = [self.in_background(load, n) for n in range(4)]
        for join in joins:
            join()
        server.stop()
        seen = [m["request"].split()[1] for m in self.lines()]
        self.assertEqual(sorted(seen), sorted(f"/a.txt?{n}-{i}" for n in range(4) for i in range(500)))
        for number in range(4):  # in order for each connection
            mine = [int(s.split("-")[1]) for s in seen if s.startswith(f"/a.txt?{number}-")]
            self.assertEqual(mine, sorted(mine))

    def test_a_reader_who_stands_still(self):
        """Lines are dropped and counted; no client waits."""
        fifo = f"{self.logs}/fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, reader)
        server = self.httpd(self.site, "--access-log", fifo, "--threads", 1)
        total, batch = 6000, 20
        agent = "User-Agent: " + "a" * 480
        with server.connect() as client:
            for i in range(0, total, batch):
                client.send(b"".join(make_request("GET", f"/a.txt?{i + k}", [agent]) for k in range(batch)))
                for _ in range(batch):
                    self.assertEqual(client.read_response().status, 200)  # fails after a while when a reactor waits
        data = bytearray()
        os.set_blocking(reader, True)

        def read():
            while piece := os.read(reader, 65536):
                data.extend(piece)

        join = self.in_background(read)
        wait_until(lambda: b" lines dropped\n" in data, "the notice")
        server.stop()
        join()
        text = data.decode()
        dropped = sum(int(n) for n in re.findall(r"^# (\d+) lines dropped$", text, re.M))
        delivered = re.findall(r'"GET /a\.txt\?(\d+) HTTP/1\.1"', text)
        self.assertGreater(dropped, 0)
        self.assertEqual(dropped + len(delivered), total)
        for line in text.splitlines(True):
            if not line.startswith("#"):
                self.assertTrue(LINE.fullmatch(line), line)

    def test_a_reader_who_goes(self):
        fifo = f"{self.logs}/fifo"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
        server = self.httpd(self.site, "--access-log", fifo, "--threads", 1)
        server.get("/a.txt")
        os.close(reader)
        for _ in range(20):
            self.assertEqual(server.get("/a.txt").status, 200)
            time.sleep(0.03)


class ErrorLog(E2ETest):
    def test_levels(self):
        server = self.hello("--threads", 1, "--log-level", "info")
        server.get("/hello")
        server.get("/nothing")
        server.process.terminate()
        server.wait_exit()
        for line in server.stderr().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info|warn|error) \S+: ")

    def test_bad_requests_are_no_news(self):
        server = self.hello("--threads", 1)
        for _ in range(20):
            with server.connect() as client:
                client.send(b"nonsense\r\n\r\n")
                self.assertEqual(client.read_response().status, 400)
        self.assertLess(len(server.stderr().splitlines()), 10)


class FullDisk(E2ETest):
    """Files may not grow any more, by RLIMIT_FSIZE, in the middle of a line of either log; later they may again."""
    ERROR_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?:debug|info|warn|error) \S+: .*\n")

    def dropped(self, server, log):
        with Client(("127.0.0.1", server.admin)) as client:
            text = client.request("GET", "/metrics").body.decode()
        return int(re.search(rf'^rill_log_lines_dropped_total{{log="{log}"}} (\d+)$', text, re.M).group(1))

    def may_grow_to(self, server, limit):
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def refuse_one(self, server, address):
        """Has a connection from ADDRESS refused, which is worth a line in the error log."""
        for _ in range(3):
            client = socket.create_connection(("127.0.0.1", server.port), PATIENCE, (address, 0))
            self.addCleanup(client.close)
        self.assertEqual(client.recv(1), b"")

    def test_both_logs(self):
        site, logs = self.folder(), self.folder()
        write_file(f"{site}/a.txt", b"hello")
        access, error = f"{logs}/access.log", f"{logs}/error.log"
        server = self.httpd(site, "--threads", 1, "--access-log", access, "--max-per-address", 2, "--admin", 0,
                            error_log=error)
        server.admin = int(server.await_log(r" info admin: .* listening on 127\.0\.0\.1:(\d+)\n").group(1))
        server.get("/a.txt?0")
        wait_until(lambda: os.path.exists(access) and read(access).endswith(b"\n"), "the first line")

        # Twenty bytes more, of each: a comment makes them as long as each other.
        limit = max(os.path.getsize(error), os.path.getsize(access)) + 100
        for path in (error, access):
            write_file(path, read(path) + b"#" * (limit - 21 - os.path.getsize(path)) + b"\n")
        self.may_grow_to(server, limit)
        total, agent = 8000, "User-Agent: " + "a" * 480  # more than the ring of the log holds
        with server.connect() as client:
            for i in range(0, total, 20):
                client.send(b"".join(make_request("GET", f"/a.txt?{i + k}", [agent]) for k in range(20)))
                for _ in range(20):
                    self.assertEqual(client.read_response().status, 200)
        self.assertGreater(self.dropped(server, "access"), 0)
        server.await_log(f"cannot write to {re.escape(error)}: File too large; lines are dropped")
        addresses = iter(range(2, 250))
        while self.dropped(server, "error") < 2:  # there is one line a second at most
            self.refuse_one(server, f"127.0.0.{next(addresses)}")
            time.sleep(0.1)
        for path in (error, access):
            self.assertEqual(len(read(path)), limit)
            self.assertFalse(read(path).endswith(b"\n"))

        self.may_grow_to(server, resource.RLIM_INFINITY)
        later = 0
        while b"/a.txt?later" not in read(access):
            self.assertEqual(server.get("/a.txt?later").status, 200)
            later += 1
            time.sleep(0.02)
        dropped, error_dropped = self.dropped(server, "access"), self.dropped(server, "error")
        self.assertEqual(server.stderr().count(f"cannot write to {error}"), 1)
        server.stop()

        lines = read(access).decode().splitlines(True)
        self.assertEqual([line for line in lines if line[0] != "#" and not LINE.fullmatch(line)], [])
        self.assertEqual(sum(line[0] != "#" for line in lines) + dropped, 1 + total + later)
        spoken_of = re.findall(r"^# (\d+) lines dropped$", "".join(lines), re.M)
        self.assertEqual(sum(map(int, spoken_of)), dropped)
        lines = read(error).decode().splitlines(True)
        self.assertEqual([line for line in lines if line[0] != "#" and not self.ERROR_LINE.fullmatch(line)], [])
        self.assertRegex("".join(lines), f"cannot write to {re.escape(access)}: File too large; .*\n"
                                         rf".* warn \S+: {error_dropped} lines dropped: the log could not be written\n")
