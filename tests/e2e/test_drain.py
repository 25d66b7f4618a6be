"""Signals: SIGTERM and SIGINT drain, a second one stops at once, SIGHUP opens the logs again, SIGPIPE harms nobody."""
import os
import re
import signal
import threading
import time

from support import Closed, E2ETest, make_request, wait_until, wait_until_read, write_file


class Drain(E2ETest):
    threaded = True

    def check_stopped(self, server):
        server.wait_exit()
        server.check_exit()

    def drain(self, server):
        """Returns when it has begun: two signals of one kind are one until the first is taken."""
        server.signal(signal.SIGTERM)
        server.await_log("draining")

    def test_idle_server_stops(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            for threads in (0, 2):
                server = self.hello("--threads", threads)
                server.signal(number)
                self.check_stopped(server)

    def test_idle_connections_close(self):
        server = self.hello("--threads", 2)
        clients = [server.connect() for _ in range(50)]
        for client in clients[10:]:
            self.assertEqual(client.request("GET", "/hello").status, 200)
        server.signal(signal.SIGTERM)
        for client in clients:
            self.assertTrue(client.is_closed())
            client.close()
        self.check_stopped(server)

    def test_clients_that_the_kernel_holds_back_are_told(self):
        """A client that has said nothing is not accepted with deferred accepts, yet it learns that the server stops."""
        for options in (("--threads", 1), ("--threads", 0), ("--threads", 2, "--accept", "reuseport")):
            server = self.hello("--defer-accept", "on", *options)
            silent = [server.connect() for _ in range(5)]
            speaking = server.connect()
            self.assertEqual(speaking.request("GET", "/hello").status, 200)
            began = time.monotonic()
            server.signal(signal.SIGTERM)
            told = [*silent, speaking]
            try:
                late = server.connect()  # accepting goes on while they are waited for
                self.assertEqual(late.request("GET", "/hello").status, 200)
                told.append(late)
            except (OSError, Closed):
                self.assertGreater(time.monotonic() - began, 1, "it did not wait for them")
            for client in told:
                self.assertTrue(client.is_closed())
                client.close()
            self.check_stopped(server)

    def test_second_signal_does_not_wait_for_them(self):
        for options in (("--threads", 1), ("--threads", 2, "--accept", "reuseport")):
            # Who waits for them takes more than a second each time; who does not is that slow on a busy machine only.
            self.assertTrue(any(self.stop_takes(options) < 1 for _ in range(10)), "it waited for them ten times")

    def stop_takes(self, options):
        server = self.hello("--defer-accept", "on", *options)
        with server.connect() as silent:
            self.drain(server)
            begin = time.monotonic()
            server.signal(signal.SIGTERM)
            self.check_stopped(server)
            silent.reset()
        return time.monotonic() - begin

    def test_sleepers_are_answered(self):
        for threads in (0, 2):
            server = self.hello("--threads", threads, "--drain-timeout", "300s")
            clients = [server.connect() for _ in range(40)]
            for client in clients:
                client.send(make_request("GET", "/sleep/3000"))
            wait_until_read(clients)
            server.signal(signal.SIGTERM)
            for client in clients:
                response = client.read_response()
                self.assertEqual((response.status, response.complete), (200, True))
                self.assertTrue(response.has_option("close"), "the client is not told that this was the last")
                self.assertTrue(client.is_closed())
                client.close()
            self.check_stopped(server)  # without waiting for the deadline

    def test_pipelined_requests_are_answered(self):
        server = self.hello("--threads", 1)
        with server.connect() as client:
            client.send(make_request("GET", "/sleep/400") + make_request("GET", "/hello/a") + make_request("GET", "/hello/b"))
            client.wait_until_read()
            server.signal(signal.SIGTERM)
            self.assertEqual(client.read_response().status, 200)
            # What was pipelined behind may be answered, or the connection is closed by the first: never half.
            try:
                while True:
                    self.assertTrue(client.read_response().complete)
            except Closed:
                pass
        self.check_stopped(server)

    def test_nobody_new_is_served(self):
        server = self.hello("--threads", 1)
        with server.connect() as client:
            client.send(make_request("POST", "/echo", ["Content-Length: 2"]) + b"a")
            client.wait_until_read()
            self.drain(server)

            def is_served():
                try:
                    return server.get("/hello").status
                except (Closed, OSError):
                    return None

            wait_until(lambda: not is_served(), "nobody new to be served")
            self.assertIsNone(is_served())
            client.send(b"b")
            self.assertEqual(client.read_response().body, b"ab")
        self.check_stopped(server)

    def test_a_body_under_way_is_taken_whole(self):
        server = self.hello("--threads", 1)
        with server.connect() as client:
            client.send(make_request("POST", "/echo", ["Content-Length: 60000"]) + b"x" * 20000)
            client.wait_until_read()
            self.drain(server)
            client.send(b"y" * 40000)
            response = client.read_response()
            self.assertEqual(response.body, b"x" * 20000 + b"y" * 40000)
            self.assertTrue(client.is_closed())
        self.check_stopped(server)

    def test_a_slow_download_ends_whole(self):
        root = self.folder()
        size = 12 << 20
        write_file(f"{root}/big", b"z" * size)
        server = self.httpd(root, "--threads", 1)
        with server.connect(receive_buffer=65536) as client:
            client.send(make_request("GET", "/big"))
            client.read_head()
            server.signal(signal.SIGTERM)
            got = 0
            while got < size:
                data = client.read_bytes(min(1 << 20, size - got))
                self.assertTrue(data, f"broken off at {got}")
                got += len(data)
                time.sleep(0.05)
            self.assertTrue(client.is_closed())
        self.check_stopped(server)

    def test_the_deadline(self):
        server = self.hello("--threads", 1, "--drain-timeout", "500ms")
        with server.connect() as client:
            client.send(make_request("GET", "/sleep/60000"))
            client.wait_until_read()
            begin = time.monotonic()
            server.signal(signal.SIGTERM)
            self.check_stopped(server)
            self.assertGreaterEqual(time.monotonic() - begin, 0.4)
            self.assertTrue(client.is_closed())

    def test_a_second_signal_stops_at_once(self):
        for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)):
            server = self.hello("--threads", 2, "--drain-timeout", "300s")
            with server.connect() as client:
                client.send(make_request("GET", "/sleep/60000"))
                client.wait_until_read()
                server.signal(first)
                server.await_log("draining")
                time.sleep(0.3)
                self.assertIsNone(server.process.poll(), "did not wait for the request under way")
                server.signal(second)
                self.check_stopped(server)

    def load(self, server, targets, stop, log):
        """Requests one after the other on keep-alive connections; notes when each was sent and what came."""
        while not stop.is_set():
            try:
                client = server.connect()
            except OSError:
                return
            with client:
                for i in range(50):
                    method, target, body = targets[i % len(targets)]
                    entry = {"target": target, "sent": None, "result": "nothing"}
                    try:
                        client.send(make_request(method, target, body=body))
                        entry["sent"] = time.monotonic()
                    except OSError:
                        return
                    log.append(entry)
                    try:
                        response = client.read_response()
                        entry["result"] = "whole" if response.complete and response.status == 200 else repr(response)
                        if body:
                            self.assertEqual(response.body, body)
                    except Closed:
                        return
                    except AssertionError as error:
                        entry["result"] = str(error)
                        return
                    if response.has_option("close"):
                        break

    def drain_under_load(self, threads, accept):
        server = self.hello("--threads", threads, "--accept", accept, "--workers", 2, "--drain-timeout", "300s")
        targets = [("GET", "/hello", b""), ("GET", "/sleep/300", b""), ("POST", "/echo", b"e" * 100000), ("GET", "/hash/x", b""),
                   ("GET", "/hello/you", b""), ("GET", "/sleep/20", b"")]
        stop = threading.Event()
        log = []
        joins = [self.in_background(self.load, server, targets[i % 3:] + targets, stop, log) for i in range(12)]
        wait_until(lambda: len(log) > 200, "load")
        signalled = time.monotonic()
        server.signal(signal.SIGTERM)
        self.check_stopped(server)
        stop.set()
        for join in joins:
            join()
        for entry in log:
            if entry["sent"] < signalled:
                self.assertEqual(entry["result"], "whole", entry)
            else:
                self.assertIn(entry["result"], ("whole", "nothing"), entry)

    def test_no_response_is_lost_under_load(self):
        self.drain_under_load(2, "round-robin")

    def test_no_response_is_lost_under_load_reuseport(self):
        self.drain_under_load(2, "reuseport")

    def test_no_response_is_lost_under_load_alone(self):
        self.drain_under_load(0, "round-robin")


class OtherSignals(E2ETest):
    threaded = True

    def test_hup_opens_the_logs_again(self):
        root = self.folder()
        write_file(f"{root}/site/a.txt", b"a")
        log, moved = f"{root}/access.log", f"{root}/access.log.1"
        server = self.httpd(f"{root}/site", "--access-log", log, "--threads", 2)
        for i in range(20):
            server.get(f"/a.txt?before-{i}")
        os.rename(log, moved)
        for i in range(20):
            server.get(f"/a.txt?between-{i}")
        server.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(log), "the log to be opened again")
        for i in range(20):
            server.get(f"/a.txt?after-{i}")
        server.stop()
        with open(moved) as file:
            old = file.read()
        with open(log) as file:
            new = file.read()
        self.assertEqual(len(re.findall("before-", old)), 20)
        self.assertEqual(len(re.findall("after-", new)), 20)
        self.assertEqual(len(re.findall("between-", old + new)), 20)

    def test_hup_opens_the_error_log_again(self):
        log = f"{self.folder()}/error.log"
        server = self.hello("--threads", 1, "--log-level", "info", error_log=log)
        with open(log) as file:
            self.assertIn("listening on", file.read())
        os.rename(log, log + ".1")
        server.signal(signal.SIGHUP)
        wait_until(lambda: os.path.exists(log), "the log to be opened again")
        self.assertEqual(server.get("/hello").status, 200)

    def test_hup_under_load(self):
        root = self.folder()
        write_file(f"{root}/site/a.txt", b"a")
        server = self.httpd(f"{root}/site", "--access-log", f"{root}/access.log", "--threads", 2)
        stop = threading.Event()
        counts = []

        def load():
            with server.connect() as client:
                count = 0
                while not stop.is_set():
                    self.assertEqual(client.request("GET", "/a.txt").body, b"a")
                    count += 1
                counts.append(count)

        joins = [self.in_background(load) for _ in range(4)]
        for i in range(10):
            time.sleep(0.1)
            os.rename(f"{root}/access.log", f"{root}/access.log.{i}")
            server.signal(signal.SIGHUP)
            wait_until(lambda: os.path.exists(f"{root}/access.log"), "the log to be opened again")
        stop.set()
        for join in joins:
            join()
        server.stop()
        lines = 0
        for name in os.listdir(root):
            if name.startswith("access.log"):
                with open(f"{root}/{name}") as file:
                    for line in file:
                        self.assertRegex(line, r'^127\.0\.0\.1 .*"GET /a\.txt HTTP/1\.1" 200 1 .*\d\n$')
                        lines += 1
        self.assertEqual(lines, sum(counts))

    def test_pipe_is_ignored(self):
        server = self.hello("--threads", 1)
        server.signal(signal.SIGPIPE)
        self.assertEqual(server.get("/hello").status, 200)
        for _ in range(10):
            client = server.connect()
            client.send(make_request("GET", "/hello") * 1000)
            client.reset()
        self.assertEqual(server.get("/hello").status, 200)
