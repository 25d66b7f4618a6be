"""The admin server beside the programs: metrics, status, health, the page in a browser, and rill-top."""
import fcntl
import json
import os
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import browser
from support import PATIENCE, Client, E2ETest, have, program, server_environment, wait_until

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs", "metrics.md")
NAME, LABEL = r"[a-zA-Z_:][a-zA-Z0-9_:]*", r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")


class Metrics:
    """A text in Prometheus' format 0.0.4, read as strictly as it is described."""

    def __init__(self, text):
        self.help, self.type, self.samples = {}, {}, {}
        family = None
        assert text.endswith("\n"), "the last line does not end"
        for line in text[:-1].split("\n"):
            if line.startswith("# HELP "):
                family, words = line[7:].split(" ", 1)
                assert family not in self.help, f"{family} comes twice"
                assert words.endswith("."), line
                self.help[family] = words
            elif line.startswith("# TYPE "):
                name, kind = line[7:].split(" ")
                assert name == family and kind in ("counter", "gauge", "histogram"), line
                assert (kind == "counter") == name.endswith("_total"), line
                self.type[name] = kind
            else:
                match = SAMPLE.fullmatch(line)
                assert match, f"no sample: {line!r}"
                name, labels, value = match.groups()
                base = re.sub(r"_(bucket|sum|count)$", "", name) if self.type.get(family) == "histogram" else name
                assert base == family, f"{name} stands below {family}"
                key = (name, frozenset(re.findall(rf"({NAME})=\"([^\"]*)\"", labels or "")))
                assert key not in self.samples, f"twice: {line}"
                self.samples[key] = float(value)
        assert self.help.keys() == self.type.keys()
        for family in (f for f, kind in self.type.items() if kind == "histogram"):
            self.check_histogram(family)

    def check_histogram(self, family):
        series = {}
        for (name, labels), value in self.samples.items():
            if name == family + "_bucket":
                bound = float(dict(labels)["le"])
                series.setdefault(frozenset(l for l in labels if l[0] != "le"), []).append((bound, value))
        assert series, family
        for labels, buckets in series.items():
            assert buckets == sorted(buckets) and [v for _, v in buckets] == sorted(v for _, v in buckets), buckets
            assert buckets[-1][0] == float("inf") and buckets[-1][1] == self.samples[family + "_count", labels], family
            assert self.samples[family + "_sum", labels] >= 0

    def get(self, name, **labels):
        return self.samples[name, frozenset(labels.items())]

    def total(self, name, **labels):
        """The sum over all loops."""
        return sum(value for (n, all_labels), value in self.samples.items()
                   if n == name and set(labels.items()) <= set(all_labels))


class AdminTest(E2ETest):
    def start_with_admin(self, name, *args, **options):
        server = self.start(name, "--admin", "0", *args, **options)
        server.admin = int(server.await_log(r" info admin: .* listening on 127\.0\.0\.1:(\d+)\n").group(1))
        return server

    def ask(self, server, target, method="GET"):
        with Client(("127.0.0.1", server.admin)) as client:
            return client.request(method, target)

    def metrics(self, server):
        response = self.ask(server, "/metrics")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
        return Metrics(response.body.decode())

    def status(self, server):
        response = self.ask(server, "/status.json")
        self.assertEqual((response.status, response.header("Content-Type")), (200, "application/json"))
        return json.loads(response.body)


class Numbers(AdminTest):
    threaded = True

    def test_what_http_clients_did_is_counted(self):
        server = self.start_with_admin("rill-hello", "--threads", 2)
        before = self.metrics(server)
        self.assertEqual(before.total("rill_connections_total"), 0)
        for _ in range(3):
            with server.connect() as client:
                for target, status in (("/hello", 200), ("/nothing", 404), ("/hash/abc", 200), ("/sleep/20", 200)):
                    self.assertEqual(client.request("GET", target).status, status)
        with server.connect() as client:
            client.send(b"BAD\r\n\r\n")
            self.assertEqual(client.read_response().status, 400)
        wait_until(lambda: self.metrics(server).total("rill_connections_open") == 0, "the connections to end")
        after = self.metrics(server)
        self.assertEqual(after.total("rill_connections_total"), 4)
        self.assertEqual({after.get("rill_connections_total", loop=f"reactor-{i}") for i in (0, 1)}, {2})
        self.assertEqual(after.total("rill_connections_closed_total"), 4)
        self.assertEqual(after.total("rill_http_requests_total", status="2xx"), 9)
        self.assertEqual(after.total("rill_http_requests_total", status="4xx"), 4)
        self.assertEqual(after.total("rill_http_requests_total"), 13)
        self.assertEqual(after.total("rill_http_requests_in_flight"), 0)
        self.assertEqual(after.total("rill_http_request_duration_seconds_count"), 13)
        self.assertGreaterEqual(after.total("rill_http_request_duration_seconds_sum"), 0.06)
        self.assertLess(after.total("rill_http_request_duration_seconds_sum"), PATIENCE)
        self.assertGreater(after.total("rill_received_bytes_total"), 13 * 20)
        self.assertGreater(after.total("rill_sent_bytes_total"), 13 * 100)
        self.assertEqual(after.get("rill_pool_jobs_total", outcome="ran"), 3)
        self.assertEqual(after.get("rill_pool_wait_seconds_count"), 3)
        self.assertEqual(after.get("rill_pool_run_seconds_count"), 3)
        self.assertGreater(after.total("rill_loop_turns_total"), 0)
        self.assertEqual(after.total("rill_loop_turn_duration_seconds_count"), after.total("rill_loop_turns_total"))
        self.assertEqual(after.total("rill_loop_turn_events_sum"), after.total("rill_loop_events_total"))
        self.assertGreaterEqual(after.total("rill_loop_timer_lateness_seconds_count"), 1)
        self.assertGreater(after.get("process_open_fds"), 5)
        self.assertLessEqual(abs(after.get("process_open_fds") - server.descriptors()), 3)
        self.assertLess(abs(after.get("process_resident_memory_bytes") / server.rss_bytes() - 1), 0.5)

    def test_a_request_under_way_is_in_flight_until_its_sender_gives_up(self):
        server = self.start_with_admin("rill-hello", "--threads", 1)
        with server.connect() as client:
            client.send(b"GET /hel")
            wait_until(lambda: self.metrics(server).total("rill_http_requests_in_flight") == 1, "it to be in flight")
        wait_until(lambda: self.metrics(server).total("rill_http_requests_total", status="none") == 1, "it to be gone")
        after = self.metrics(server)
        self.assertEqual(after.total("rill_http_requests_in_flight"), 0)
        self.assertEqual(after.total("rill_http_request_duration_seconds_count"), 0)
        self.assertEqual(after.total("rill_connections_closed_total"), 1)

    def test_a_server_of_another_protocol_has_the_numbers_of_its_connections(self):
        server = self.start_with_admin("rill-echo", "--threads", 0)
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as client:
            client.sendall(b"x" * 1000)
            got = b""
            while len(got) < 1000:
                got += client.recv(1000)
            wait_until(lambda: self.metrics(server).total("rill_sent_bytes_total") == 1000, "the bytes to be counted")
            now = self.metrics(server)
            self.assertEqual(now.get("rill_connections_open", loop="main"), 1)
            self.assertEqual(now.get("rill_received_bytes_total", loop="main"), 1000)
            self.assertFalse([name for name in now.type if "http" in name])
        wait_until(lambda: self.metrics(server).total("rill_connections_closed_total", reason="eof") == 1, "its end")

    def test_status_says_what_metrics_say(self):
        server = self.start_with_admin("rill-hello", "--threads", 2)
        with server.connect() as client:
            client.request("GET", "/hello")
            client.request("GET", "/hash/x")
        wait_until(lambda: self.metrics(server).total("rill_connections_open") == 0, "the connection to end")
        metrics, status = self.metrics(server), self.status(server)
        self.assertEqual((status["name"], status["state"]), ("rill-hello", "running"))
        self.assertEqual([loop["name"] for loop in status["loops"]], ["reactor-0", "reactor-1", "main"])
        for loop in status["loops"]:
            name = loop["name"]
            self.assertEqual(loop["turns"], metrics.get("rill_loop_turns_total", loop=name))
            self.assertEqual(sum(loop["turn_us"]["counts"]), loop["turns"])
            if name == "main":
                self.assertNotIn("connections", loop)
                continue
            self.assertEqual(loop["connections"]["total"], metrics.get("rill_connections_total", loop=name))
            self.assertEqual(loop["bytes"]["out"], metrics.get("rill_sent_bytes_total", loop=name))
            self.assertEqual(loop["http"]["requests"]["2xx"],
                             metrics.get("rill_http_requests_total", loop=name, status="2xx"))
            self.assertEqual(sum(loop["http"]["took_us"]["counts"]),
                             metrics.get("rill_http_request_duration_seconds_count", loop=name))
        self.assertEqual((status["pool"]["ran"], sum(status["pool"]["run_us"]["counts"])), (1, 1))

    def test_health_says_when_the_server_drains(self):
        server = self.start_with_admin("rill-hello", "--threads", 1, "--drain-timeout", "60s")
        response = self.ask(server, "/health")
        self.assertEqual((response.status, response.body), (200, b"ok"))
        with server.connect() as client:
            client.send(b"GET /sleep/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: self.metrics(server).total("rill_http_requests_in_flight") == 1, "it to be in flight")
            server.signal(signal.SIGTERM)
            wait_until(lambda: self.ask(server, "/health").status == 503, "the server to drain")
            self.assertEqual(self.ask(server, "/health").body, b"draining")
            self.assertEqual(self.status(server)["state"], "draining")
            self.assertEqual(self.metrics(server).get("rill_draining"), 1)
            server.signal(signal.SIGTERM)
            server.wait_exit()

    def test_methods_and_targets_that_are_not_there(self):
        server = self.start_with_admin("rill-hello", "--threads", 1)
        self.assertEqual(self.ask(server, "/nothing").status, 404)
        self.assertEqual(self.ask(server, "/metrics", "POST").status, 405)
        response = self.ask(server, "/metrics", "HEAD")
        self.assertEqual((response.status, response.body), (200, b""))
        page = self.ask(server, "/")
        self.assertEqual((page.status, page.header("Content-Type")), (200, "text/html; charset=utf-8"))
        self.assertIn("default-src 'none'", page.header("Content-Security-Policy"))
        self.assertFalse(re.findall(rb"https?://", page.body), "the page asks nobody else")


class Options(AdminTest):
    def test_a_port_alone_means_loopback(self):
        for address in ("0", ":0", "127.0.0.1:0"):
            server = self.start("rill-echo", "--threads", 1, "--admin", address)
            server.await_log(r"admin: listening on 127\.0\.0\.1:\d+")
            server.stop()

    def test_a_unix_socket(self):
        path = os.path.join(self.folder(), "admin")
        self.start("rill-echo", "--threads", 1, "--admin", "unix:" + path)
        with Client(path) as client:
            self.assertEqual(client.request("GET", "/health").body, b"ok")

    def test_what_is_no_address(self):
        for address, said in (("nonsense", "is not right"), ("127.0.0.1:99999", "is not right"), ("", "is not right")):
            done = subprocess.run([program("rill-echo"), "--admin", address], capture_output=True, text=True,
                                  timeout=PATIENCE, env=server_environment(), check=False)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn(said, done.stderr)

    def test_an_address_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            done = subprocess.run([program("rill-echo"), "--listen", "127.0.0.1:0", "--admin", str(port)],
                                  capture_output=True, text=True, timeout=PATIENCE, env=server_environment(), check=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("cannot listen on 127.0.0.1:%d" % port, done.stderr)


class Documents(AdminTest):
    def test_every_metric_is_in_the_document_and_no_other(self):
        server = self.start_with_admin("rill-hello", "--threads", 1)
        metrics = self.metrics(server)
        with open(DOCS, encoding="utf-8") as file:
            rows = re.findall(r"^\| `(\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|$", file.read(), re.M)
        self.assertEqual({name: (kind, words.strip()) for name, kind, words in rows},
                         {name: (metrics.type[name], metrics.help[name]) for name in metrics.type})

    def test_promtool(self):
        if not have("promtool"):
            self.skipTest("promtool is not there (scripts/setup)")
        for name in ("rill-hello", "rill-echo"):
            server = self.start_with_admin(name, "--threads", 2)
            text = self.ask(server, "/metrics").body
            done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60,
                                  check=False)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))


class Load:
    """Requests on a few connections, until stopped."""

    def __init__(self, server, connections=6):
        self.server, self.ended = server, threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(i,), daemon=True) for i in range(connections)]
        for thread in self.threads:
            thread.start()

    def ask(self, number):
        while not self.ended.is_set():
            with self.server.connect() as client:
                for i in range(40 + 20 * number):
                    client.request("GET", "/hash/abc" if i % 5 == 0 else "/hello")
                    time.sleep(0.002)
                    if self.ended.is_set():
                        return

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()


class Page(AdminTest):
    serial = True

    def setUp(self):
        try:
            self.browser = browser.Browser()
        except browser.NoBrowser as reason:
            self.skipTest(str(reason))
        self.addCleanup(self.browser.close)
        self.server = self.start_with_admin("rill-hello", "--threads", 2, "--drain-timeout", "60s")
        self.browser.open(f"http://127.0.0.1:{self.server.admin}/")

    def state(self):
        return self.browser.run("return document.getElementById('state').dataset.state")

    def labels(self):
        return self.browser.run("return Array.from(document.querySelectorAll('canvas'),"
                                " c => c.getAttribute('aria-label'))")

    def rows(self):
        return self.browser.run("return Array.from(document.querySelectorAll('#rows tr'),"
                                " r => Array.from(r.children, c => c.textContent))")

    def pixels(self):
        return self.browser.run("return Array.from(document.querySelectorAll('canvas'), c => c.toDataURL())")

    def test_values_move_and_a_drain_shows(self):
        wait_until(lambda: self.state() == "running", "the page to show the server")
        load = Load(self.server)
        self.addCleanup(load.stop)
        wait_until(lambda: self.rows() and all(re.match(r"\d", row[3]) and row[3] != "0" for row in self.rows()),
                   "requests a second of each reactor")
        first_rows, first_pixels = self.rows(), self.pixels()
        self.assertEqual([row[0] for row in first_rows], ["reactor-0", "reactor-1"])
        self.assertEqual(len(first_pixels), 6)
        wait_until(lambda: all(a != b for a, b in zip(self.pixels(), first_pixels)), "all plots to move")
        wait_until(lambda: all(a[2] != b[2] for a, b in zip(self.rows(), first_rows)), "connections to be dealt")
        for label in (r"Requests, a second, each: reactor-0 \d\S*, reactor-1 \d",
                      r"Latency, of requests: p50 \d\S* (µs|ms|s), p99 \d\S* (µs|ms|s)",
                      r"Worker pool, jobs: waiting \d+, running \d+"):  # fmt: skip
            wait_until(lambda: re.search(label, "\n".join(self.labels())), f"a plot to tell {label}")

        for scheme, dark in (("dark", True), ("light", False)):
            self.browser.colours(scheme)
            paper = self.browser.run("return getComputedStyle(document.body).backgroundColor")
            self.assertEqual(sum(map(int, re.findall(r"\d+", paper))) < 384, dark, paper)
        for width in (360, 1200):
            self.browser.size(width, 800)
            wait_until(lambda: self.browser.run("return window.innerWidth") == width, "the window to have its size")
            wide = self.browser.run("return document.documentElement.scrollWidth")
            self.assertLessEqual(wide, width, "nothing sticks out")
        self.assertEqual(self.browser.console(), [])

        load.stop()
        with self.server.connect() as client:
            client.send(b"GET /sleep/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: any(row[4] == "1" for row in self.rows()), "the request in flight to show")
            self.server.signal(signal.SIGTERM)
            wait_until(lambda: self.state() == "draining", "the drain to show")
            self.assertEqual(self.browser.console(), [])
            self.server.signal(signal.SIGTERM)
            self.server.wait_exit()
        wait_until(lambda: self.state() == "gone", "the end to show")

        port = self.server.admin
        again = self.start("rill-hello", "--threads", 1, "--admin", port)
        wait_until(lambda: self.state() == "running" and len(self.rows()) == 1, "the page to find the next server")
        again.stop()

    def test_the_keyboard(self):
        wait_until(lambda: self.state() == "running", "the page to show the server")
        reached = []
        for _ in range(8):
            self.browser.key("\ue004")  # tab
            reached.append(self.browser.run("return document.activeElement.id || document.activeElement.tagName"))
        self.assertEqual(reached, ["hold"] + ["CANVAS"] * 6 + ["DIV"], "everything can be reached, in order")
        self.browser.run("document.querySelector('canvas').focus()")
        wait_until(lambda: self.browser.run("return plots[0].history.length") > 3, "some samples")
        self.browser.key("\ue012")  # left
        self.browser.key("\ue012")
        self.assertRegex(self.labels()[0], r"each reactor, 2 seconds ago: ")
        self.browser.key("\ue010")  # end
        self.assertNotRegex(self.labels()[0], r"seconds ago")
        self.browser.key("p")
        before = self.browser.run("return plots[0].history.length")
        self.assertEqual(self.browser.run("return document.getElementById('hold').getAttribute('aria-pressed')"), "true")
        time.sleep(2.2)
        self.assertLessEqual(self.browser.run("return plots[0].history.length"), before + 1)
        self.browser.key("p")
        wait_until(lambda: self.browser.run("return plots[0].history.length") > before + 1, "it to go on")
        self.assertEqual(self.browser.console(), [])


class Top(AdminTest):
    threaded = True

    def top(self, *args):
        return subprocess.run([program("rill-top"), *map(str, args)], capture_output=True, text=True, timeout=60,
                              env=server_environment(), check=False)

    def test_a_line_each_reactor(self):
        server = self.start_with_admin("rill-hello", "--threads", 2)
        load = Load(server, 4)
        self.addCleanup(load.stop)
        wait_until(lambda: self.metrics(server).total("rill_http_requests_total") > 50, "some requests")
        for url in (server.admin, f"127.0.0.1:{server.admin}", f"http://localhost:{server.admin}/"):
            # A reactor may happen not to be asked anything in between, but not time and again.
            rows = wait_until(lambda: self.busy_rows(url), "both reactors to be busy", 60)
            for i in (0, 1):
                self.assertEqual(rows[i]["reactor"], f"reactor-{i}")
                self.assertGreater(int(rows[i]["dealt"]), 0)
                self.assertRegex(rows[i]["p99"], r"^\d+(us|ms)$")
        load.stop()

    def busy_rows(self, url):
        done = self.top("--once", "--interval", "300ms", url)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 4, done.stdout)
        self.assertRegex(lines[0], r"^running   memory \S+B   descriptors \d+   pool: \d+ waiting, \d+ running$")
        columns = lines[1].replace("turn p99", "turn-p99").split()
        rows = [dict(zip(columns, line.split())) for line in lines[2:]]
        return rows if all(float(row["req/s"].rstrip("k")) > 0 for row in rows) else None

    def test_a_server_without_http_and_one_that_drains(self):
        server = self.start_with_admin("rill-echo", "--threads", 0, "--drain-timeout", "60s")
        done = self.top("--once", "--interval", "50ms", server.admin)
        self.assertRegex(done.stdout, r"(?m)^main +0 +0 +- +- +0 +0 +- +- +- +- +0%$")
        hello = self.start_with_admin("rill-hello", "--threads", 1, "--drain-timeout", "60s")
        with hello.connect() as client:
            client.send(b"GET /sleep/60000 HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_until(lambda: self.metrics(hello).total("rill_http_requests_in_flight") == 1, "it to be in flight")
            hello.signal(signal.SIGTERM)
            wait_until(lambda: self.ask(hello, "/health").status == 503, "the server to drain")
            self.assertTrue(self.top("--once", "--interval", "50ms", hello.admin).stdout.startswith("DRAINING "))
            hello.signal(signal.SIGTERM)
            hello.wait_exit()

    def test_a_narrow_terminal(self):
        """Whole columns and lines are left out, and no number is cut."""
        server = self.start_with_admin("rill-hello", "--threads", 3)
        for width, height, columns, loops in ((20, 24, ["open"], 3), (40, 24, ["open", "dealt", "req/s"], 3),
                                              (20, 5, ["open"], 1), (300, 24, None, 3)):  # fmt: skip
            master, slave = os.openpty()
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
            done = subprocess.run([program("rill-top"), "--once", "--interval", "50ms", str(server.admin)],
                                  stdout=slave, stderr=subprocess.PIPE, timeout=60, env=server_environment(), check=False)
            os.close(slave)
            self.assertEqual((done.returncode, done.stderr), (0, b""))
            lines = os.read(master, 65536).decode().replace("\x1b[H\x1b[J", "").split("\r\n")
            os.close(master)
            self.assertLess(len(lines), height + 1, lines)
            self.assertLessEqual(max(map(len, lines)), width, lines)
            self.assertRegex(lines[0], r"^running(   memory \S+B)?(   descriptors \d+)?(   pool: \d+ waiting, \d+ running)?$")
            if columns:
                self.assertEqual(lines[1].split(), ["reactor", *columns])
            else:
                self.assertTrue(lines[1].endswith("busy"), lines)
            self.assertEqual([line.split()[0] for line in lines if line.startswith("reactor-")],
                             [f"reactor-{i}" for i in range(loops)])
            self.assertEqual("2 more" in lines, loops == 1)

    def test_it_waits_for_a_server(self):
        """One that is not there yet, and the same one when it has gone and come back."""
        said = self.ask(self.start_with_admin("rill-hello", "--threads", 1), "/metrics").body
        metrics = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said
        path = os.path.join(self.folder(), "said")
        response = b""

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # the test is over
                with connection:
                    connection.recv(65536)
                    connection.sendall(response)

        def says_once_more(text):
            def count():
                with open(path, encoding="ascii") as file:
                    return file.read().count(text)

            before = count()
            wait_until(lambda: count() > before, text)

        listener = socket.socket()
        self.addCleanup(listener.close)
        listener.bind(("127.0.0.1", 0))  # nobody else gets that port
        with open(path, "wb") as output:
            top = subprocess.Popen([program("rill-top"), "--interval", "50ms", str(listener.getsockname()[1])],
                                   stdout=output, env=server_environment())  # fmt: skip
        self.addCleanup(top.wait)
        self.addCleanup(top.kill)
        says_once_more("onnection refused; trying again\n")
        listener.listen()
        threading.Thread(target=serve, daemon=True).start()
        for response in (metrics, b"", metrics):
            says_once_more("busy\n" if response else "does not answer /metrics; give the address of its --admin; trying again\n")
        listener.shutdown(socket.SHUT_RDWR)

    def test_who_does_not_answer(self):
        server = self.hello("--threads", 1)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            free = probe.getsockname()[1]
        for url, said in ((server.port, "does not answer /metrics"), (free, "[Cc]onnection refused")):
            done = self.top("--once", url)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, said)
        for url, said in (("127.0.0.1:99999", "a port from 0 to 65535"), ("255.255.255.255:80", "[Nn]etwork is unreachable")):
            done = self.top(url)  # it does not wait for what cannot come
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, said)
        for words in (["--once"], ["https://localhost/"], ["ftp://x"], [""]):
            self.assertEqual(self.top(*words).returncode, 2)
