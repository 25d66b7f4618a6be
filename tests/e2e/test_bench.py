"""rill-bench: what it counts of good and of bad servers, open and closed loops, and how it ends."""
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import threading
import time

from support import PATIENCE, E2ETest, program, wait_until, write_file

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Scripted(socketserver.ThreadingTCPServer):
    """A server of which each connection is handled by FUNCTION(socket), which reads requests itself."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, function):
        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                try:
                    function(self.request)
                except OSError:
                    pass
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/"


def requests(connection):
    """Each request of a connection, when it has come."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, data = data.split(b"\r\n\r\n", 1)
        yield head


def answering(answer):
    def serve(connection):
        for _ in requests(connection):
            connection.sendall(answer)
    return serve


class BenchTest(E2ETest):
    def scripted(self, function):
        server = Scripted(function)
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def bench(self, *args, status=0, timeout=60):
        done = subprocess.run([program("rill-bench"), *map(str, args)], capture_output=True, text=True, timeout=timeout)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.assertNotIn("Sanitizer", done.stderr)
        return done

    def result(self, *args, status=0):
        return json.loads(self.bench("--json", "--threads", 1, *args, status=status).stdout)

    def check_only(self, result, kind, least=1):
        wrong = {name: count for name, count in result["errors"].items() if count and name != "total"}
        self.assertEqual(list(wrong), [kind], result["errors"])
        self.assertGreaterEqual(wrong[kind], least)
        self.assertEqual(result["requests"], 0)


class Bench(BenchTest):
    def test_a_good_server(self):
        server = self.hello("--threads", 1)
        url = f"http://127.0.0.1:{server.port}/"
        result = self.result("--requests", 2000, "--connections", 20, "--expect-length", "13", url)
        self.assertEqual((result["requests"], result["errors"]["total"]), (2000, 0))
        self.assertEqual(result["status"]["2xx"], 2000)
        self.assertEqual(sum(count for count, _ in result["seconds"]), 2000)
        latency = result["latency_us"]
        self.assertEqual(sorted(latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")),
                         [latency[name] for name in ("p50", "p90", "p99", "p99.9", "max")])  # fmt: skip
        self.assertGreater(latency["max"], 0)
        timed = self.result("--duration", "500ms", "--warmup", "100ms", "--server-pid", server.pid, url)
        self.assertTrue(0.05 < timed["elapsed_s"] < PATIENCE, timed["elapsed_s"])
        self.assertGreater(timed["server"]["user_s"] + timed["server"]["system_s"], 0)
        self.assertGreater(timed["server"]["peak_bytes"], 100000)

    def test_every_way_of_asking(self):
        server = self.hello("--threads", 1)
        base = f"http://127.0.0.1:{server.port}"
        folder = self.folder()
        write_file(os.path.join(folder, "body"), b"x" * 1000)
        for options in (("--pipeline", 10), ("--new-connection",), ("--rate", 2000), ("--rate", 2000, "--poisson"),
                        ("--method", "HEAD"), ("--header", "X-Test: 1"), ("--sources", 3), ("--ramp", "100ms")):  # fmt: skip
            result = self.result("--requests", 300, "--connections", 7, *options, base + "/")
            self.assertEqual((result["requests"], result["errors"]["total"]), (300, 0), options)
        posted = self.result("--requests", 50, "--body", os.path.join(folder, "body"), "--expect-body",
                             os.path.join(folder, "body"), base + "/echo")  # fmt: skip
        self.assertEqual((posted["requests"], posted["errors"]["total"]), (50, 0))
        weighted = self.result("--requests", 400, "--url", "3*" + base + "/missing", base + "/")
        self.assertEqual((weighted["status"]["2xx"], weighted["status"]["4xx"]), (100, 300))
        write_file(os.path.join(folder, "list"), f"# a comment\n2*GET {base}/\nHEAD /hello\n\nPOST /echo {folder}/body\n".encode())
        listed = self.result("--requests", 400, "--request-file", os.path.join(folder, "list"))
        self.assertEqual((listed["requests"], listed["errors"]["total"]), (400, 0))

    def test_messages_that_come_back(self):
        echo = self.start("rill-echo", "--threads", 1)
        for size in ("1", "64", "100k"):
            result = self.result("--requests", 40, "--connections", 4, "--message-size", size,
                                 f"echo://127.0.0.1:{echo.port}")  # fmt: skip
            self.assertEqual((result["requests"], result["errors"]["total"]), (40, 0), size)
        result = self.result("--requests", 40, "--protocol", "echo", f"127.0.0.1:{echo.port}")
        self.assertEqual((result["requests"], result["errors"]["total"]), (40, 0))

        def twisted(connection):
            while data := connection.recv(1000):
                connection.sendall(data[::-1])

        wrong = self.scripted(twisted)
        self.check_only(self.result("--requests", 4, "--connections", 2, f"echo://127.0.0.1:{wrong.server_address[1]}",
                                    status=1), "body", 4)  # fmt: skip

    def test_what_it_says_of_itself(self):
        """A generator that has nothing to do was not the limit; the busiest that there can be is told."""
        server = self.hello("--threads", 1)
        url = f"http://127.0.0.1:{server.port}/"
        calm = self.result("--rate", 20, "--duration", "1s", "--warmup", "0ms", url)
        self.assertLess(calm["client_cpu_fraction"], 0.9)
        self.assertLessEqual(calm["client_cpu_fraction"], calm["client_busy_fraction"])
        for result in (calm, self.result("--requests", 3000, url)):
            self.assertEqual(result["client_was_the_limit"], result["client_busy_fraction"] > 0.9)
            self.assertEqual(list(result["latency_us"]), ["mean", "p50", "p75", "p90", "p99", "p99.9", "p99.99", "p99.999", "max"])

    def test_the_live_line(self):
        server = self.hello("--threads", 1)
        master, slave = os.openpty()
        bench = subprocess.Popen([program("rill-bench"), "--duration", "3s", "--warmup", "0ms", "--connections", "2",
                                  f"http://127.0.0.1:{server.port}/"], stdout=subprocess.PIPE, stderr=slave)  # fmt: skip
        os.close(slave)
        output, _ = bench.communicate(timeout=60)
        shown = os.read(master, 65536).decode()
        os.close(master)
        self.assertEqual(bench.returncode, 0)
        self.assertRegex(shown, r"\r +[1-9] s +\d+ req/s  p99 +\d+\.\d{3} ms  0 errors ")
        self.assertNotIn(b"\r", output)

    def test_wrong_answers_are_counted_as_what_they_are(self):
        few = ("--requests", 8, "--connections", 2)
        body = os.path.join(self.folder(), "body")
        write_file(body, b"other")
        for kind, answer, options in (
            ("malformed", b"HTTP/1.1 2x0 OK\r\n\r\n", ()),
            ("malformed", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", ()),
            ("malformed", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ()),
            ("status", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", ()),
            ("status", OK, ("--expect-status", 404)),
            ("length", OK, ("--expect-length", "6")),
            ("body", OK, ("--expect-body", body)),
            ("timeout", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", ()),
        ):
            server = self.scripted(answering(answer))
            soon = ("--timeout", "400ms" if kind == "timeout" else "60s")
            self.check_only(self.result(*few, *soon, *options, server.url, status=1), kind, 8)

    def test_connections_that_end_wrongly(self):
        few = ("--requests", 6, "--connections", 2)

        def cut(connection):
            for _ in requests(connection):
                connection.sendall(OK[:-2])
                return

        def closed(connection):
            connection.recv(1000)

        def reset(connection):
            connection.recv(1000)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        def silent(connection):
            while connection.recv(1000):
                pass

        for kind, function in (("cut_off", cut), ("reset", closed), ("reset", reset), ("timeout", silent)):
            soon = ("--timeout", "400ms" if kind == "timeout" else "60s")
            self.check_only(self.result(*few, *soon, self.scripted(function).url, status=1), kind, 6)

    def test_a_server_that_says_nothing(self):
        def silent(connection):
            while connection.recv(1000):
                pass

        server = self.scripted(silent)
        for url in (server.url, server.url.replace("http", "echo")):
            master, slave = os.openpty()
            bench = subprocess.Popen([program("rill-bench"), "--duration", "2500ms", "--warmup", "0ms", "--timeout", "60s",
                                      "--connections", "3", url], stdout=subprocess.PIPE, stderr=slave, text=True)  # fmt: skip
            os.close(slave)
            output, _ = bench.communicate(timeout=60)
            shown = os.read(master, 65536).decode()
            os.close(master)
            self.assertEqual(bench.returncode, 1)
            self.assertIn(" s  no response yet", shown)
            self.assertIn("\n3 requests were waiting for their responses at the end\n", output)
            self.assertNotIn("latency", output)

    def test_bytes_that_nobody_asked_for(self):
        def serve(connection):
            for _ in requests(connection):
                connection.sendall(OK + b"HTTP/1.1 200 OK\r\n\r\n")

        result = self.result("--requests", 20, "--connections", 1, self.scripted(serve).url)
        self.assertGreater(result["errors"]["unasked"], 0)
        self.assertEqual(result["requests"], 20)

    def test_a_body_that_ends_with_the_connection(self):
        def serve(connection):
            for _ in requests(connection):
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
                return

        result = self.result("--requests", 10, "--connections", 2, "--expect-length", "5", self.scripted(serve).url)
        self.assertEqual((result["requests"], result["errors"]["total"]), (10, 0))


class BenchOpenLoop(BenchTest):
    def slow(self, *args):
        """Of a run: how many requests there were, and how many took half a second or more."""
        path = os.path.join(self.folder(), "latency.csv")
        result = self.result("--histogram", path, *args)
        with open(path, encoding="ascii") as file:
            rows = [row.split(",") for row in file.read().splitlines()[1:]]
        return result, sum(int(count) for low, _, count, _ in rows if int(low) >= 500000)

    def test_coordinated_omission(self):
        """A server that stands still for a second: an open loop sees it in every request of that second, and a closed
        one in one a connection."""
        gate, asked = threading.Lock(), threading.Event()

        def serve(connection):
            for _ in requests(connection):
                asked.set()
                with gate:
                    pass
                connection.sendall(OK)

        def stall():
            asked.wait(PATIENCE)
            time.sleep(2)
            with gate:
                time.sleep(1)

        def stalled(*args):
            asked.clear()
            join = self.in_background(stall)
            told = self.slow(*args, "--connections", 4, "--duration", "6s", "--warmup", "100ms", server.url)
            join()
            return told

        server = self.scripted(serve)
        opened, open_slow = stalled("--rate", 100)
        closed, closed_slow = stalled()
        self.assertGreater(open_slow, 40, "those meant to begin in the first half of that second")
        self.assertGreater(opened["latency_from_intended_start_us"]["max"], 800000)
        self.assertGreater(opened["latency_from_intended_start_us"]["mean"], opened["latency_us"]["mean"],
                           "counted from when they were sent few waited")  # fmt: skip
        self.assertGreater(closed["latency_us"]["max"], 800000)
        self.assertGreaterEqual(closed_slow, 4)
        self.assertLess(2 * closed_slow, open_slow, "a closed loop hides it")

    def test_a_rate_that_is_too_much(self):
        def serve(connection):
            for _ in requests(connection):
                time.sleep(0.05)
                connection.sendall(OK)

        result = self.result("--rate", 200, "--connections", 2, "--duration", "1s", "--warmup", "0ms", self.scripted(serve).url)
        self.assertGreater(result["backlog"], 50)
        self.assertGreater(result["latency_from_intended_start_us"]["max"], 300000)


class BenchEnds(BenchTest):
    def test_ends(self):
        done = self.bench("http://127.0.0.1:1/", status=1)
        self.assertIn("cannot connect to 127.0.0.1:1", done.stderr)
        server = self.hello("--threads", 1)
        bench = subprocess.Popen([program("rill-bench"), "--duration", "60s", "--connections", "5",
                                  "--warmup", "0ms", f"http://127.0.0.1:{server.port}/"],
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
        wait_until(lambda: server.cpu_seconds() > 0.3, "the run to be under way")
        server.stop()
        output, _ = bench.communicate(timeout=60)
        self.assertEqual(bench.returncode, 1)
        self.assertIn("ended early: no connection to the server", output)

    def test_interrupted(self):
        server = self.hello("--threads", 1)
        bench = subprocess.Popen([program("rill-bench"), "--json", "--duration", "60s", "--warmup", "0ms",
                                  f"http://127.0.0.1:{server.port}/"], stdout=subprocess.PIPE, text=True)  # fmt: skip
        wait_until(lambda: server.cpu_seconds() > 0.3, "the run to be under way")
        bench.send_signal(signal.SIGINT)
        result = json.loads(bench.communicate(timeout=60)[0])
        self.assertEqual(result["ended_early"], "interrupted")
        self.assertGreater(result["requests"], 0)

    def test_nonsense(self):
        for args, wanted in (
            ((), "a URL is wanted"),
            (("https://localhost/",), "http://HOST"),
            (("http://localhost:99999/",), "a port from 0 to 65535"),
            (("http:///",), "a host is wanted"),
            (("http://a b/",), "white space"),
            (("--url", "http://127.0.0.2/", "http://127.0.0.1/"), "one server"),
            (("--url", "echo://127.0.0.1:80", "http://127.0.0.1/"), "one protocol"),
            (("--url", "0*http://127.0.0.1/", "http://127.0.0.1/"), "a weight is from 1 to 1000"),
            (("--rate", "fast", "http://127.0.0.1/"), "requests a second"),
            (("--rate", "5", "--pipeline", "2", "http://127.0.0.1/"), "one request at a time"),
            (("--header", "no colon", "http://127.0.0.1/"), "NAME: VALUE"),
            (("--body", "/nonexistent", "http://127.0.0.1/"), "No such file"),
            (("--request-file", "/nonexistent"), "No such file"),
            (("--duration", "10", "http://127.0.0.1/"), "a duration needs a unit"),
            (("--poisson", "http://127.0.0.1/"), "the --rate is wanted"),
            (("--method", "GET /", "http://127.0.0.1/"), "the name of a method"),
            (("--duration", "101h", "http://127.0.0.1/"), "from 1ms to 100h is wanted"),
            (("--connections", "0", "http://127.0.0.1/"), "from 1 to 1048576 is wanted"),
            (("--server-pid", "4194304", "http://127.0.0.1/"), "no process of that number"),
            (("--histogram", "/nonexistent/file", "http://127.0.0.1/"), "cannot write the histogram"),
            (("scale",), "{threads}"),
            (("scale", "--threads", "4..1", "--", "x", "{threads}"), "rising"),
        ):
            done = self.bench(*args, status=2)
            self.assertIn(wanted, done.stderr, args)
            self.assertEqual(done.stdout, "")

    def test_help_tells_what_the_exit_status_means(self):
        for args in ((), ("scale",)):
            self.assertRegex(self.bench(*args, "--help").stdout, r"Exit status: 0 measured, .*; 1 [^;]*; 2 the command")

    def test_histogram_file(self):
        server = self.hello("--threads", 1)
        path = os.path.join(self.folder(), "latency.csv")
        self.bench("--requests", 500, "--histogram", path, f"http://127.0.0.1:{server.port}/")
        with open(path, encoding="ascii") as file:
            lines = file.read().splitlines()
        self.assertEqual(lines[0], "low_us,high_us,count,fraction")
        self.assertEqual(sum(int(line.split(",")[2]) for line in lines[1:]), 500)
        self.assertEqual(lines[-1].split(",")[3], "1.0000000")


class Scale(E2ETest):
    def scale(self, *args, status=0):
        done = subprocess.run([program("rill-bench"), "scale", *map(str, args)], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def test_a_table_and_no_conclusion_from_little(self):
        out = os.path.join(self.folder(), "out")
        done = self.scale("--threads", "1,2", "--rounds", 2, "--duration", "500ms", "--warmup", "50ms", "--out", out, "--",
                          program("rill-hello"), "--listen", "127.0.0.1:0", "--threads", "{threads}")  # fmt: skip
        self.assertIn("no conclusion: ", done.stdout)
        with open(os.path.join(out, "scale.csv"), encoding="ascii") as file:
            rows = file.read().splitlines()
        self.assertEqual(len(rows), 1 + 2 * 2)
        self.assertTrue(all(float(row.split(",")[2]) > 0 for row in rows[1:]))
        self.assertIn("balance: CPU time of the threads", done.stdout)
        self.assertEqual({row.split(",")[8] for row in rows[1:]}, {"cpu_time"})

    def balances(self, *options, connections=8):
        """What the loops' own counters say of two loops, in each round."""
        out = os.path.join(self.folder(), "out")
        done = self.scale("--threads", "2", "--rounds", 2, "--duration", "1s", "--warmup", "50ms", "--connections",
                          connections, "--out", out, "--", program("rill-hello"), "--listen", "127.0.0.1:0", "--threads",
                          "{threads}", "--admin", "{admin}", *options)  # fmt: skip
        self.assertIn("balance: requests of the loop that had the fewest", done.stdout)
        self.assertNotIn("CPU time of the threads", done.stdout)
        with open(os.path.join(out, "scale.csv"), encoding="ascii") as file:
            rows = [row.split(",") for row in file.read().splitlines()[1:]]
        self.assertEqual([row[8] for row in rows], ["requests"] * 2)
        return [float(row[7]) for row in rows]

    def test_the_balance_is_told_by_the_loops_themselves(self):
        self.assertEqual(self.balances(connections=1), [0, 0], "one connection: one loop does it all")
        for balance in self.balances():
            self.assertTrue(0 < balance <= 1, balance)

    def test_counters_that_cannot_be_read(self):
        """{admin} leads to a server of another kind: the kernel's figures are taken, and that is said."""
        done = self.scale("--threads", "1", "--rounds", 1, "--duration", "200ms", "--warmup", "50ms", "--",
                          program("rill-hello"), "--listen", "127.0.0.1:0", "--listen", "127.0.0.1:{admin}", "--threads",
                          "{threads}")  # fmt: skip
        self.assertIn("balance: CPU time of the threads", done.stdout)

    def test_a_server_that_is_told_its_port(self):
        done = self.scale("--threads", "1", "--rounds", 1, "--duration", "200ms", "--warmup", "50ms", "--",
                          program("rill-hello"), "--listen", "127.0.0.1:{port}", "--threads", "{threads}")  # fmt: skip
        self.assertIn("no conclusion: ", done.stdout)

    def test_servers_that_do_not_serve(self):
        for command, wanted in ((("false", "{threads}"), "ended before it listened (status 1)"),
                                (("/nonexistent", "{threads}"), "cannot run /nonexistent")):  # fmt: skip
            done = self.scale("--threads", "1", "--", *command, status=1)
            self.assertIn(wanted, done.stderr)
