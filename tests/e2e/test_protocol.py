"""HTTP/1.1 and 1.0 as RFC 9110 and 9112 have them: connections, bodies both ways, methods, limits."""
import hashlib
import random
import re
import time

from support import Closed, E2ETest, Server, SharedServerTest, chunked, make_request


class Connections(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 2)

    def exchange(self, version, connection, method="GET"):
        fields = [f"Connection: {connection}"] if connection else []
        with self.server.connect() as client:
            client.send(make_request(method, "/hello", fields, version=version))
            response = client.read_response(method)
            self.assertEqual(response.version, b"1")
            if response.has_option("close") or (version == "1.0" and not response.has_option("keep-alive")):
                self.assertTrue(client.is_closed(), "says close and stays")
                return False
            client.send(make_request(method, "/hello", fields, version=version))
            self.assertEqual(client.read_response(method).status, 200)
            return True

    def test_keep_alive_by_version_and_field(self):
        table = [
            ("1.1", None, True), ("1.1", "keep-alive", True), ("1.1", "close", False), ("1.1", "Close", False),
            ("1.1", "keep-alive, close", False), ("1.1", "x, close", False), ("1.1", "x", True),
            ("1.1", "closed", True), ("1.0", None, False), ("1.0", "keep-alive", True), ("1.0", "Keep-Alive", True),
            ("1.0", "close", False), ("1.0", "keep-alive, close", False), ("1.0", "x", False),
        ]
        for version, connection, expected in table:
            for method in ("GET", "HEAD"):
                with self.subTest(version=version, connection=connection, method=method):
                    self.assertEqual(self.exchange(version, connection, method), expected)

    def test_two_connection_fields(self):
        with self.server.connect() as client:
            response = client.request("GET", "/hello", ["Connection: x", "Connection: close"])
            self.assertTrue(response.has_option("close"))
            self.assertTrue(client.is_closed())

    def test_many_requests_one_connection(self):
        with self.server.connect() as client:
            for i in range(200):
                self.assertEqual(client.request("GET", f"/hello/{i}").body, f"Hello, {i}!".encode())

    def test_pipelining_in_order(self):
        with self.server.connect() as client:
            targets = ["/hello/a", "/sleep/80", "/hello/b", "/hash/x", "/hello/c", "/sleep/1", "/hello/d"] * 5
            client.send(b"".join(make_request("GET", t) for t in targets))
            bodies = [client.read_response().body for _ in targets]
            for target, body in zip(targets, bodies):
                if target.startswith("/hello/"):
                    self.assertEqual(body, f"Hello, {target[-1]}!".encode())
            self.assertEqual(bodies[:7], bodies[7:14])

    def test_pipelining_split_anywhere(self):
        data = b"".join([
            make_request("GET", "/hello/one"), make_request("POST", "/echo", body=b"two"),
            make_request("POST", "/echo", ["Transfer-Encoding: chunked"]) + chunked(b"three", [2, 3], "X: y\r\n"),
            make_request("HEAD", "/hello"), make_request("GET", "/hello/four", ["Connection: close"])])
        rng = random.Random(3)
        for cut in range(1, len(data), 3):
            with self.server.connect() as client:
                client.send_pieces(data, [cut, rng.randrange(len(data))], pause=0.001)
                bodies = [client.read_response(m).body for m in ("GET", "POST", "POST", "HEAD", "GET")]
                self.assertEqual(bodies, [b"Hello, one!", b"two", b"three", b"", b"Hello, four!"], cut)
                self.assertTrue(client.is_closed())

    def test_nothing_after_close(self):
        with self.server.connect() as client:
            client.send(make_request("GET", "/hello", ["Connection: close"]) + make_request("GET", "/hello"))
            self.assertEqual(client.read_response().status, 200)
            self.assertTrue(client.is_closed())

    def test_many_pipelined(self):
        with self.server.connect() as client:
            count = 5000
            join = self.in_background(client.send, b"".join(make_request("GET", f"/hello/{i}") for i in range(count)))
            for i in range(count):
                self.assertEqual(client.read_response().body, f"Hello, {i}!".encode())
            join()


class Methods(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1)

    def test_head_is_get_without_the_body(self):
        for target in ("/", "/hello", "/hello/me", "/nothing", "/hash/x", "/sleep/5", "/sleep/nonsense"):
            with self.subTest(target), self.server.connect() as client:
                get = client.request("GET", target)
                head = client.request("HEAD", target)
                self.assertEqual(head.status, get.status)
                self.assertEqual([h for h in head.headers if h[0] != "Date"], [h for h in get.headers if h[0] != "Date"])
                self.assertEqual(client.request("GET", "/hello").status, 200)  # no stray body before it

    def test_not_found(self):
        for target in ("/nothing", "/hello/a/b", "/hellox", "/echo/x", "/sleep", "/hash/"):
            with self.subTest(target):
                self.assertEqual(self.server.get(target).status, 404)

    def allow(self, response):
        return {m.strip() for m in (response.header("Allow") or "").split(",") if m.strip()}

    def test_method_not_allowed(self):
        for method, target, expected in (("POST", "/", {"GET", "HEAD"}), ("DELETE", "/hello", {"GET", "HEAD"}),
                                         ("PUT", "/hello/x", {"GET", "HEAD"}), ("GET", "/echo", {"POST"}),
                                         ("HEAD", "/echo", {"POST"}), ("PATCH", "/echo", {"POST"})):
            with self.subTest(method, target=target):
                response = self.server.get(target, method=method)
                self.assertEqual(response.status, 405)
                self.assertTrue(expected <= self.allow(response), response)
                self.assertNotIn(method, self.allow(response))

    def test_unknown_method(self):
        response = self.server.get("/hello", method="BREW")
        self.assertIn(response.status, (405, 501))
        if response.status == 405:
            self.assertIn("GET", self.allow(response))

    def test_options(self):
        for target in ("*", "/hello", "/echo"):
            with self.subTest(target), self.server.connect() as client:
                response = client.request("OPTIONS", target)
                self.assertIn(response.status, (200, 204))
                if target != "*":
                    self.assertIn("POST" if target == "/echo" else "GET", self.allow(response))
                self.assertEqual(client.request("GET", "/hello").status, 200)

    def test_absolute_form(self):
        for target in ("http://test/hello", "http://test:80/hello", "HTTP://TEST/hello", "http://other/hello?q",
                       "https://test/hello"):
            with self.subTest(target):
                self.assertEqual(self.server.get(target).body, b"Hello, World!")
        self.assertEqual(self.server.get("http://test").body, b"Hello, World!")
        self.assertEqual(self.server.get("http://test?q").body, b"Hello, World!")

    def test_query_does_not_matter_to_the_route(self):
        self.assertEqual(self.server.get("/hello/me?x=1&y=%20").body, b"Hello, me!")

    def test_dot_segments(self):
        self.assertEqual(self.server.get("/x/../hello").body, b"Hello, World!")
        self.assertEqual(self.server.get("/./hello/./me").body, b"Hello, me!")

    def test_escaped_parameters(self):
        self.assertEqual(self.server.get("/hello/%41%20b").body, b"Hello, A b!")


class Handlers(SharedServerTest):
    """rill-hello: at once, by timer, from the pool, streamed."""

    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1, "--workers", 2)

    def test_hello(self):
        for target in ("/", "/hello"):
            response = self.server.get(target)
            self.assertEqual((response.status, response.body), (200, b"Hello, World!"))
            self.assertEqual(response.header("Content-Length"), "13")
            self.assertTrue(response.header("Content-Type").startswith("text/plain"))

    def test_sleep_answers_from_a_timer(self):
        begin = time.monotonic()
        self.assertEqual(self.server.get("/sleep/200").status, 200)
        self.assertGreaterEqual(time.monotonic() - begin, 0.2)  # never early

    def test_sleepers_do_not_wait_for_each_other(self):
        clients = [self.server.connect() for _ in range(100)]
        begin = time.monotonic()
        for client in clients:
            client.send(make_request("GET", "/sleep/500"))
        for client in clients:
            self.assertEqual(client.read_response().status, 200)
            client.close()
        self.assertLess(time.monotonic() - begin, 25)  # 50 s one after the other

    def test_bad_sleep(self):
        for text in ("x", "-1", "1.5", "99999999999999999999", "+1"):
            with self.subTest(text):
                self.assertIn(self.server.get(f"/sleep/{text}").status, (400, 404))

    def test_hash(self):
        first, again, other = (self.server.get(t) for t in ("/hash/abc", "/hash/abc", "/hash/abd"))
        self.assertEqual(first.status, 200)
        self.assertEqual(first.body, again.body)
        self.assertNotEqual(first.body, other.body)
        value = 0xcbf29ce484222325  # FNV-1a, 64 bits
        for byte in b"abc":
            value = (value ^ byte) * 0x100000001b3 % 2**64
        self.assertIn(f"{value:016x}".encode(), first.body)

    def test_a_client_who_leaves_while_the_server_works(self):
        for target in ("/sleep/300", "/hash/x"):
            for _ in range(20):
                client = self.server.connect()
                client.send(make_request("GET", target))
                client.reset()
        time.sleep(0.4)
        self.assertEqual(self.server.get("/hello").status, 200)


class FullPool(E2ETest):
    threaded = True

    def test_a_full_queue_refuses(self):
        """503 with Retry-After instead of growing; what has room is answered, and the server goes on."""
        server = self.hello("--threads", 2, "--workers", 1, "--worker-queue", 1)
        clients = [server.connect() for _ in range(100)]
        seen = {200: 0, 503: 0}
        for _ in range(5):
            for client in clients:
                client.send(make_request("GET", "/hash/x"))
            for client in clients:
                response = client.read_response()
                self.assertIn(response.status, seen)
                seen[response.status] += 1
                if response.status == 503:
                    self.assertIsNotNone(response.header("Retry-After"))
        self.assertGreater(seen[200], 0)
        for client in clients:
            client.close()
        self.assertEqual(server.get("/hash/x").status, 200)


class Bodies(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1, "--max-body-bytes", "1g")

    def test_echo(self):
        for body in (b"", b"x", b"hello" * 1000, bytes(range(256)) * 400):
            with self.subTest(length=len(body)), self.server.connect() as client:
                self.assertEqual(client.request("POST", "/echo", body=body).body, body)
                for sizes in ([1], [7, 1, 1000], [len(body) or 1]):
                    if len(body) > 10000 and sizes == [1]:
                        continue
                    client.send(make_request("POST", "/echo", ["Transfer-Encoding: chunked"]) + chunked(body, sizes))
                    self.assertEqual(client.read_response().body, body)

    def test_content_length_zero(self):
        with self.server.connect() as client:
            response = client.request("POST", "/echo", ["Content-Length: 0"])
            self.assertEqual((response.status, response.body), (200, b""))

    def test_http_1_0_client_gets_no_chunks(self):
        with self.server.connect() as client:
            client.send(make_request("POST", "/echo", body=b"hello" * 10, version="1.0"))
            response = client.read_response()
            self.assertIsNone(response.header("Transfer-Encoding"))
            self.assertEqual(response.body, b"hello" * 10)

    def test_trailers_end_a_body(self):
        with self.server.connect() as client:
            for trailers in ("", "X: y\r\n", "A: b\r\nC: d\r\nE:\r\n"):
                client.send(make_request("POST", "/echo", ["Transfer-Encoding: chunked", "Trailer: X"]) +
                            chunked(b"abc", [1], trailers))
                self.assertEqual(client.read_response().body, b"abc")

    def stream(self, framing):
        """Sends and receives 24 MB at the same time."""
        rng = random.Random(5)
        piece = rng.randbytes(1 << 20)
        count = 24
        digest = hashlib.sha256()
        for _ in range(count):
            digest.update(piece)
        with self.server.connect() as client:
            def send():
                if framing == "length":
                    client.send(make_request("POST", "/echo", [f"Content-Length: {count * len(piece)}"]))
                    for _ in range(count):
                        client.send(piece)
                else:
                    client.send(make_request("POST", "/echo", ["Transfer-Encoding: chunked"]))
                    for _ in range(count):
                        client.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
                    client.send(b"0\r\n\r\n")
            join = self.in_background(send)
            response = client.read_response()
            join()
            self.assertTrue(response.complete)
            self.assertEqual(len(response.body), count * len(piece))
            self.assertEqual(hashlib.sha256(response.body).digest(), digest.digest())
            self.assertEqual(client.request("GET", "/hello").status, 200)

    def test_stream_by_length(self):
        self.stream("length")

    def test_stream_by_chunks(self):
        self.stream("chunked")

    def test_echo_comes_while_the_body_still_goes(self):
        with self.server.connect() as client:
            client.send(make_request("POST", "/echo", ["Content-Length: 200000"]) + b"a" * 100000)
            version, status, reason, headers, raw = client.read_head()
            self.assertEqual(status, 200)
            if ("Content-Length", "200000") in headers:
                self.assertEqual(client.read_bytes(100000), b"a" * 100000)
                client.send(b"b" * 100000)
                self.assertEqual(client.read_bytes(100000), b"b" * 100000)
            else:
                got = b""
                while len(got) < 100000:
                    size = int(client.read_line(), 16)
                    got += client.read_bytes(size + 2)[:-2]
                self.assertEqual(got, b"a" * 100000)


class Expectations(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1)

    def test_continue(self):
        for value in ("100-continue", "100-Continue"):
            for framing in ("Content-Length: 5", "Transfer-Encoding: chunked"):
                with self.subTest(value, framing=framing), self.server.connect() as client:
                    client.send(make_request("POST", "/echo", [f"Expect: {value}", framing]))
                    interim = client.read_response(interim=True)
                    self.assertEqual((interim.status, interim.raw_head), (100, b"HTTP/1.1 100 Continue\r\n\r\n"))
                    client.send(b"hello" if "Length" in framing else b"5\r\nhello\r\n0\r\n\r\n")
                    self.assertEqual(client.read_response(interim=True).body, b"hello")
                    self.assertEqual(client.request("GET", "/hello").status, 200)

    def test_no_continue_for_an_old_client(self):
        with self.server.connect() as client:
            client.send(make_request("POST", "/echo", ["Expect: 100-continue"], body=b"hello", version="1.0"))
            response = client.read_response(interim=True)
            self.assertEqual((response.status, response.body), (200, b"hello"))

    def test_a_refusal_instead_of_continue(self):
        for method, target, status in (("POST", "/hello", 405), ("POST", "/nothing", 404)):
            with self.subTest(target), self.server.connect() as client:
                client.send(make_request(method, target, ["Expect: 100-continue", "Content-Length: 5"]))
                response = client.read_response(interim=True)
                self.assertEqual(response.status, status)
                if response.has_option("close"):
                    self.assertTrue(client.is_closed())

    def test_too_large_instead_of_continue(self):
        with self.server.connect() as client:
            client.send(make_request("POST", "/echo", ["Expect: 100-continue", "Content-Length: 100000000"]))
            self.assertEqual(client.read_response(interim=True).status, 413)
            self.assertTrue(client.is_closed())

    def test_unknown_expectation(self):
        with self.server.connect() as client:
            client.send(make_request("POST", "/echo", ["Expect: something", "Content-Length: 5"]))
            self.assertEqual(client.read_response(interim=True).status, 417)
            self.assertTrue(client.is_closed())


class Limits(E2ETest):
    def test_body_limit(self):
        server = self.hello("--max-body-bytes", "1k", "--threads", 1)
        with server.connect() as client:
            self.assertEqual(client.request("POST", "/echo", body=b"x" * 1024).status, 200)
            response = client.request("POST", "/echo", body=b"x" * 1025)
            self.assertEqual(response.status, 413)
            self.assertTrue(client.is_closed())
        with server.connect() as client:
            client.send(make_request("POST", "/echo", ["Transfer-Encoding: chunked"]) + chunked(b"x" * 1024, [100]))
            self.assertEqual(client.read_response().status, 200)
            client.send(make_request("POST", "/echo", ["Transfer-Encoding: chunked"]) + chunked(b"x" * 1025, [2000]))
            response = client.read_response()
            self.assertTrue(response.status == 413 or not response.complete, response)
            self.assertTrue(client.is_closed())

    def test_the_refusal_arrives_while_the_client_still_sends(self):
        server = self.hello("--max-body-bytes", "1k", "--threads", 1)
        for _ in range(10):
            with server.connect() as client:
                client.send(make_request("POST", "/echo", ["Content-Length: 3000000"]))
                try:
                    for _ in range(30):
                        client.send(b"x" * 100000)
                except OSError:
                    pass
                self.assertEqual(client.read_response().status, 413)

    def test_header_limit(self):
        server = self.hello("--max-header-bytes", "2k", "--threads", 1)
        self.assertEqual(server.get("/hello", ["X: " + "a" * 1500]).status, 200)
        self.assertEqual(server.get("/hello", ["X: " + "a" * 2100]).status, 431)
        self.assertEqual(server.get("/hello", [f"X-{i}: a" for i in range(300)]).status, 431)

    def test_request_line_limit(self):
        server = self.hello("--threads", 1)
        self.assertEqual(server.get("/hello/" + "a" * 4000).status, 200)
        self.assertEqual(server.get("/hello/" + "a" * 20000).status, 414)


class Timeouts(E2ETest):
    def test_header_timeout(self):
        server = self.hello("--header-timeout", "400ms", "--threads", 1)
        for data in (b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: test\r\n", b"\r\nGET"):
            with self.subTest(data), server.connect() as client:
                begin = time.monotonic()
                client.send(data)
                self.assertEqual(client.read_response().status, 408)
                self.assertTrue(client.is_closed())
                self.assertGreaterEqual(time.monotonic() - begin, 0.35)

    def test_header_timeout_counts_from_the_first_byte(self):
        server = self.hello("--header-timeout", "600ms", "--threads", 1)
        with server.connect() as client:
            begin = time.monotonic()
            for byte in b"GET /hello HTTP/1.1\r\nHost: test\r\n":
                try:
                    client.send(bytes([byte]))
                except OSError:
                    break
                if time.monotonic() - begin > 60:
                    self.fail("a byte now and then keeps the request open")
                time.sleep(0.1)
            self.assertEqual(client.read_response().status, 408)

    def test_header_timeout_of_a_later_request(self):
        server = self.hello("--header-timeout", "500ms", "--idle-timeout", "20s", "--threads", 1)
        with server.connect() as client:
            self.assertEqual(client.request("GET", "/hello").status, 200)
            time.sleep(0.8)  # idle: another deadline
            self.assertEqual(client.request("GET", "/hello").status, 200)
            client.send(b"GET")
            self.assertEqual(client.read_response().status, 408)
            self.assertTrue(client.is_closed())

    def test_idle_timeout(self):
        server = self.hello("--idle-timeout", "2s", "--threads", 1)
        with server.connect() as client:
            begin = time.monotonic()
            self.assertEqual(client.request("GET", "/hello").status, 200)
            with self.assertRaises(Closed):
                client.read_response()
            self.assertGreaterEqual(time.monotonic() - begin, 2)

    def test_idle_timeout_spares_the_busy(self):
        server = self.hello("--idle-timeout", "2s", "--threads", 1)
        with server.connect() as client:
            self.assertEqual(client.request("GET", "/sleep/3000").status, 200)
            for _ in range(6):
                time.sleep(0.4)
                self.assertEqual(client.request("GET", "/hello").status, 200)

    def test_body_timeout(self):
        server = self.hello("--body-timeout", "500ms", "--threads", 1)
        for step in (None, 0.05):  # nothing at all, and 20 bytes a second
            with self.subTest(step), server.connect() as client:
                client.send(make_request("POST", "/echo", ["Content-Length: 100000"]) + b"x" * 10)
                deadline = time.monotonic() + 60
                while step and time.monotonic() < deadline:
                    try:
                        client.send(b"x")
                    except OSError:
                        break
                    time.sleep(step)
                response = client.read_response()
                self.assertTrue(response.status == 408 or not response.complete)
                self.assertTrue(client.is_closed())
                self.assertLess(time.monotonic(), deadline)

    def test_body_timeout_spares_a_steady_sender(self):
        server = self.hello("--body-timeout", "3s", "--threads", 1)
        with server.connect() as client:
            client.send(make_request("POST", "/echo", ["Content-Length: 20000"]))
            for _ in range(20):
                client.send(b"x" * 1000)
                time.sleep(0.2)
            response = client.read_response()
            self.assertEqual((response.status, len(response.body)), (200, 20000))


class Dates(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1)

    def test_date_is_now(self):
        from email.utils import parsedate_to_datetime
        for target in ("/hello", "/nothing"):
            date = self.server.get(target).header("Date")
            self.assertTrue(re.fullmatch(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", date))
            self.assertLess(abs(parsedate_to_datetime(date).timestamp() - time.time()), 5)

    def test_date_moves_on(self):
        with self.server.connect() as client:
            first = client.request("GET", "/hello").header("Date")
            time.sleep(1.2)
            self.assertNotEqual(client.request("GET", "/hello").header("Date"), first)
