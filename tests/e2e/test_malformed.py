"""Requests that a server must refuse: the expected status, a closed connection, and nothing answered after it."""
import random
import re

from support import Closed, E2ETest, Server, SharedServerTest, make_request

NEXT = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n"


def head(*lines):
    return b"\r\n".join(line if isinstance(line, bytes) else line.encode("latin-1") for line in lines) + b"\r\n\r\n"


def get(*fields, target="/hello", host="Host: test"):
    return head(f"GET {target} HTTP/1.1", *([host] if host else []), *fields)


def post(*fields):
    return head("POST /echo HTTP/1.1", "Host: test", *fields)


BAD, URI_LONG, TOO_LARGE, FIELDS_LARGE, EXPECTATION, NOT_IMPLEMENTED, VERSION = 400, 414, 413, 431, 417, 501, 505

# Name, bytes, and the status or statuses: two only where RFC 9110 and 9112 leave the choice.
HEADS = [
    ("no Host", get(host=None), BAD),
    ("Host twice", get("Host: test"), BAD),
    ("Host twice, differing", get("Host: other"), BAD),
    ("Host with a list", get(host="Host: a, b"), BAD),
    ("Host with userinfo", get(host="Host: user@a"), BAD),
    ("Host with userinfo and password", get(host="Host: user:pw@a:80"), BAD),
    ("Host with a space", get(host="Host: a b"), BAD),
    ("Host with a path", get(host="Host: a/b"), BAD),
    ("Host with raw non-ASCII", get(host="Host: h\xe4"), BAD),
    ("Host with a letter port", get(host="Host: a:http"), BAD),
    ("Host with an open bracket", get(host="Host: [::1"), BAD),
    ("Host with a bad percent-encoding", get(host="Host: a%zz"), BAD),
    ("Host with a query", get(host="Host: a?b"), BAD),
    ("Host with a fragment", get(host="Host: a#b"), BAD),
    ("length and chunked", post("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", BAD),
    ("chunked and length", post("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n", BAD),
    ("length with plus", post("Content-Length: +5") + b"hello", BAD),
    ("length with minus", post("Content-Length: -5") + b"hello", BAD),
    ("length list, differing", post("Content-Length: 5, 6") + b"hello", BAD),
    ("length list, same", post("Content-Length: 5, 5") + b"hello", BAD),
    ("length twice, differing", post("Content-Length: 5", "Content-Length: 6") + b"hello", BAD),
    ("length twice, same", post("Content-Length: 5", "Content-Length: 5") + b"hello", BAD),
    ("length in hex", post("Content-Length: 0x5") + b"hello", BAD),
    ("length with letters behind", post("Content-Length: 5a") + b"hello", BAD),
    ("length with a space inside", post("Content-Length: 1 0") + b"hello", BAD),
    ("length with a fraction", post("Content-Length: 5.0") + b"hello", BAD),
    ("length empty", post("Content-Length:") + b"hello", BAD),
    ("length quoted", post('Content-Length: "5"') + b"hello", BAD),
    ("length beyond 64 bits by one", post("Content-Length: 18446744073709551616") + b"hello", (BAD, TOO_LARGE)),
    ("length beyond 64 bits", post("Content-Length: 99999999999999999999999999") + b"hello", (BAD, TOO_LARGE)),
    ("length that wraps to 5", post("Content-Length: 18446744073709551621") + b"hello", (BAD, TOO_LARGE)),
    ("coding not ending in chunked", post("Transfer-Encoding: chunked, gzip") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding gzip alone", post("Transfer-Encoding: gzip") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding identity", post("Transfer-Encoding: identity") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding unknown before chunked", post("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", NOT_IMPLEMENTED),
    ("coding nobody knows", post("Transfer-Encoding: cow, chunked") + b"0\r\n\r\n", NOT_IMPLEMENTED),
    ("coding that looks like chunked", post("Transfer-Encoding: xchunked") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding with a vertical tab", post(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n", BAD),
    ("coding with a NUL", post(b"Transfer-Encoding: chunked\x00") + b"0\r\n\r\n", BAD),
    ("coding chunked twice", post("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n", BAD),
    ("coding chunked in two fields", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked") + b"0\r\n\r\n", BAD),
    ("coding chunked with a parameter", post("Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding empty", post("Transfer-Encoding:") + b"0\r\n\r\n", (BAD, NOT_IMPLEMENTED)),
    ("coding in HTTP/1.0", head("POST /echo HTTP/1.0", "Transfer-Encoding: chunked") + b"0\r\n\r\n", BAD),
    ("bare CR in a value", get(b"X: a\rb"), BAD),
    ("bare CR before a field", get(b"X: a\r\rY: b"), BAD),
    ("bare CR in a name", get(b"X\rY: b"), BAD),
    ("bare CR in the request line", b"GET /hello\rHTTP/1.1\r\nHost: test\r\n\r\n", BAD),
    ("bare CR as line end", b"GET /hello HTTP/1.1\rHost: test\r\r", BAD),
    ("bare LF as line end", b"GET /hello HTTP/1.1\nHost: test\n\n", BAD),
    ("bare LF in the fields", b"GET /hello HTTP/1.1\r\nHost: test\nX: a\r\n\r\n", BAD),
    ("bare LF as blank line", b"GET /hello HTTP/1.1\r\nHost: test\r\n\n", BAD),
    ("NUL in a value", get(b"X: a\x00b"), BAD),
    ("NUL in a name", get(b"X\x00Y: a"), BAD),
    ("NUL in the target", b"GET /hel\x00lo HTTP/1.1\r\nHost: test\r\n\r\n", BAD),
    ("NUL before the request", b"\x00GET /hello HTTP/1.1\r\nHost: test\r\n\r\n", BAD),
    ("control byte in a value", get(b"X: a\x01b"), BAD),
    ("DEL in a value", get(b"X: a\x7fb"), BAD),
    ("folded by a space", get("X: a", " b"), BAD),
    ("folded by a tab", get("X: a", "\tb"), BAD),
    ("first field begins with a space", head("GET /hello HTTP/1.1", " Host: test"), BAD),
    ("space before the colon", get("X : a"), BAD),
    ("tab before the colon", get("X\t: a"), BAD),
    ("space before the colon of Content-Length", post("Content-Length : 5") + b"hello", BAD),
    ("space in a name", get("X Y: a"), BAD),
    ("empty name", get(": a"), BAD),
    ("no colon", get("X"), BAD),
    ("name with a parenthesis", get("X(Y): a"), BAD),
    ("name with non-ASCII", get(b"X\xe4: a"), BAD),
    ("name with quotes", get('"X": a'), BAD),
    ("two spaces after the method", head("GET  /hello HTTP/1.1", "Host: test"), BAD),
    ("two spaces before the version", head("GET /hello  HTTP/1.1", "Host: test"), BAD),
    ("tab after the method", head("GET\t/hello HTTP/1.1", "Host: test"), BAD),
    ("space before the method", head(" GET /hello HTTP/1.1", "Host: test"), BAD),
    ("space after the version", head("GET /hello HTTP/1.1 ", "Host: test"), BAD),
    ("no version", head("GET /hello", "Host: test"), BAD),
    ("no target", head("GET HTTP/1.1", "Host: test"), BAD),
    ("method alone", head("GET", "Host: test"), BAD),
    ("space in the target", head("GET /hel lo HTTP/1.1", "Host: test"), BAD),
    ("method with a parenthesis", head("G(T /hello HTTP/1.1", "Host: test"), BAD),
    ("method with a control byte", head(b"G\x01T /hello HTTP/1.1", "Host: test"), BAD),
    ("version in small letters", head("GET /hello http/1.1", "Host: test"), BAD),
    ("version without a point", head("GET /hello HTTP/11", "Host: test"), BAD),
    ("version without a minor", head("GET /hello HTTP/1", "Host: test"), BAD),
    ("version with letters", head("GET /hello HTTP/1.x", "Host: test"), BAD),
    ("version with two digits", head("GET /hello HTTP/1.10", "Host: test"), BAD),
    ("version of another protocol", head("GET /hello ICAP/1.0", "Host: test"), BAD),
    ("version 2.0", head("GET /hello HTTP/2.0", "Host: test"), VERSION),
    ("version 3.0", head("GET /hello HTTP/3.0", "Host: test"), VERSION),
    ("version 0.9", head("GET /hello HTTP/0.9", "Host: test"), VERSION),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION),
    ("target raw non-ASCII", get(target="/h\xe4llo"), BAD),
    ("target raw UTF-8", head("GET /ä HTTP/1.1".encode(), "Host: test"), BAD),
    ("target bad percent-encoding", get(target="/%zz"), BAD),
    ("target short percent-encoding", get(target="/%1"), BAD),
    ("target lone percent", get(target="/%"), BAD),
    ("query bad percent-encoding", get(target="/hello?a=%g1"), BAD),
    ("target encoded NUL", get(target="/hello%00"), (BAD, 404)),
    ("target without a slash", get(target="hello"), BAD),
    ("target with a fragment", get(target="/hello#x"), BAD),
    ("target asterisk with GET", get(target="*"), BAD),
    ("target asterisk and more", head("OPTIONS *x HTTP/1.1", "Host: test"), BAD),
    ("target with userinfo", get(target="http://user@test/hello"), BAD),
    ("target with an empty authority", get(target="http:///hello"), BAD),
    ("target with a bad port", get(target="http://test:x/hello"), BAD),
    ("target of another scheme", get(target="ftp://test/hello"), (BAD, 404, 421)),
    ("target with a backslash", get(target="/a\\b"), (BAD, 404)),
    ("target with a quote", get(target='/a"b'), (BAD, 404)),
    ("target with angle brackets", get(target="/<a>"), (BAD, 404)),
    ("CONNECT", head("CONNECT test:80 HTTP/1.1", "Host: test:80"), (BAD, 405, NOT_IMPLEMENTED)),
    ("long request line", get(target="/" + "a" * 9000), URI_LONG),
    ("endless request line", b"GET /" + b"a" * 100000, URI_LONG),
    ("large field", get("X: " + "a" * 40000), FIELDS_LARGE),
    ("many small fields", get(*["X: a"] * 200), FIELDS_LARGE),
    ("endless field", b"GET / HTTP/1.1\r\nHost: test\r\nX: " + b"a" * 200000, FIELDS_LARGE),
    ("large body announced", post("Content-Length: 2000000"), TOO_LARGE),
    ("an expectation nobody knows", post("Expect: cake", "Content-Length: 5"), EXPECTATION),
    ("TLS", bytes.fromhex("16030100c8010000c40303") + bytes(range(200)) + b"\r\n\r\n", BAD),
    ("noise", bytes(random.Random(1).randrange(128, 256) for _ in range(300)) + b"\r\n\r\n", BAD),
]

# Bodies whose framing is wrong. The answer may have begun already, because echo answers while it reads; then the only
# way to say that something is wrong is to break off.
CHUNKED = [
    ("size not hex", b"xyz\r\nhello\r\n0\r\n\r\n"),
    ("size negative", b"-5\r\nhello\r\n0\r\n\r\n"),
    ("size with plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    ("size with 0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    ("size empty", b"\r\nhello\r\n0\r\n\r\n"),
    ("size missing before an extension", b";a\r\nhello\r\n0\r\n\r\n"),
    ("size with a space before", b" 5\r\nhello\r\n0\r\n\r\n"),
    ("size with a space behind", b"5 \r\nhello\r\n0\r\n\r\n"),
    ("size with a tab behind", b"5\t\r\nhello\r\n0\r\n\r\n"),
    ("size beyond 64 bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("size beyond 64 bits with zeros", b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("size ended by LF", b"5\nhello\r\n0\r\n\r\n"),
    ("size ended by CR", b"5\rhello\r\n0\r\n\r\n"),
    ("size with a NUL", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    ("last size with a space", b"5\r\nhello\r\n0 \r\n\r\n"),
    ("space before an extension", b"5 ;a=b\r\nhello\r\n0\r\n\r\n"),
    ("space in an extension", b"5; a=b\r\nhello\r\n0\r\n\r\n"),
    ("space around the extension's sign", b"5;a = b\r\nhello\r\n0\r\n\r\n"),
    ("extension without a name", b"5;=b\r\nhello\r\n0\r\n\r\n"),
    ("extension without a value", b"5;a=\r\nhello\r\n0\r\n\r\n"),
    ("extension with an open quote", b"5;a=\"b\r\nhello\r\n0\r\n\r\n"),
    ("extension with a bare LF", b"5;a\nhello\r\n0\r\n\r\n"),
    ("extension with a bare CR", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ("extension with a NUL", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    ("extension very long", b"5;a=" + b"b" * 20000 + b"\r\nhello\r\n0\r\n\r\n"),
    ("data longer than said", b"3\r\nhello\r\n0\r\n\r\n"),
    ("data shorter than said", b"8\r\nhello\r\n0\r\n\r\n"),
    ("data ended by LF", b"5\r\nhello\n0\r\n\r\n"),
    ("data ended by CR", b"5\r\nhello\r0\r\n\r\n"),
    ("data ended by nothing", b"5\r\nhello0\r\n\r\n"),
    ("trailer without a colon", b"5\r\nhello\r\n0\r\nX\r\n\r\n"),
    ("trailer with a space before the colon", b"5\r\nhello\r\n0\r\nX : a\r\n\r\n"),
    ("trailer folded", b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
    ("trailer with a NUL", b"5\r\nhello\r\n0\r\nX: \x00\r\n\r\n"),
    ("trailer with a bare LF", b"5\r\nhello\r\n0\r\nX: a\n\r\n"),
    ("trailers very large", b"5\r\nhello\r\n0\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 3000 + b"\r\n"),
    ("last line ended by LF", b"5\r\nhello\r\n0\r\n\n"),
    ("more than the limit", (b"10000\r\n" + b"x" * 0x10000 + b"\r\n") * 40 + b"0\r\n\r\n"),
]


class Malformed(SharedServerTest):
    @classmethod
    def make_server(cls):
        return Server("rill-hello", "--threads", 1, "--header-timeout", "5s")

    def exchange(self, data, cuts):
        """Sends DATA and a good request behind it; returns the first response and whether the connection then
        ended without another."""
        with self.server.connect() as client:
            client.send_pieces(data + NEXT, cuts)
            response = client.read_response()
            return response, client.is_closed()

    def check_head(self, data, expected, cuts):
        response, closed = self.exchange(data, cuts)
        expected = expected if isinstance(expected, tuple) else (expected,)
        self.assertIn(response.status, expected, response)
        self.assertTrue(response.complete)
        if response.status in (404, 405):
            return  # a good request for something else: what follows is answered
        self.assertTrue(closed, f"something follows {response}")
        self.assertTrue(response.has_option("close"), response)

    def test_heads(self):
        for name, data, expected in HEADS:
            with self.subTest(name):
                self.check_head(data, expected, [])

    def test_heads_in_pieces(self):
        rng = random.Random(7)
        for name, data, expected in HEADS:
            whole = len(data) + len(NEXT)
            limit = min(whole, 400)
            for _ in range(3):
                cuts = rng.sample(range(1, limit), rng.randrange(1, 4))
                with self.subTest(name, cuts=sorted(cuts)):
                    self.check_head(data, expected, cuts)

    def check_body(self, body, cuts):
        response, closed = self.exchange(post("Transfer-Encoding: chunked") + body, cuts)
        if response.status == 200:
            self.assertFalse(response.complete, f"answered as if it were good: {response}")
        else:
            self.assertIn(response.status, (400, 413, 431), response)
            self.assertTrue(response.complete)
        self.assertTrue(closed, f"something follows {response}")

    def test_chunked_bodies(self):
        for name, body in CHUNKED:
            with self.subTest(name):
                self.check_body(body, [])

    def test_chunked_bodies_in_pieces(self):
        rng = random.Random(8)
        begin = len(post("Transfer-Encoding: chunked"))
        for name, body in CHUNKED:
            for _ in range(3):
                cuts = [begin] + rng.sample(range(begin, begin + min(len(body), 300)), rng.randrange(1, 4))
                with self.subTest(name, cuts=cuts):
                    self.check_body(body, cuts)

    def test_a_bad_body_is_refused_also_when_nobody_reads_it(self):
        # 405: the answer does not depend on the body, but what follows must not be taken for a request
        data = head("POST /hello HTTP/1.1", "Host: test", "Transfer-Encoding: chunked") + b"3\r\nhello\r\n0\r\n\r\n"
        with self.server.connect() as client:
            client.send(data + NEXT)
            self.assertIn(client.read_response().status, (405, 400))
            self.assertTrue(client.is_closed())

    def test_good_neighbours_of_the_bad(self):
        good = [
            ("an empty line before", b"\r\n" + get(), 200),
            ("value with tabs and UTF-8", get("X: \ta\t\xc3\xa4 b \t"), 200),
            ("empty value", get("X:"), 200),
            ("HTTP/1.0 without Host", head("GET /hello HTTP/1.0", "Connection: keep-alive"), 200),
            ("HTTP/1.2 is a 1", head("GET /hello HTTP/1.2", "Host: test"), 200),
            ("Host with a port", get(host="Host: test:8080"), 200),
            ("Host with an IPv6 address", get(host="Host: [::1]:8080"), 200),
            ("length with zeros in front", post("Content-Length: 0005") + b"hello", 200),
            ("chunked in capitals", post("Transfer-Encoding: CHUNKED") + b"5\r\nhello\r\n0\r\n\r\n", 200),
            ("size in capitals with zeros", post("Transfer-Encoding: chunked") + b"000A\r\n0123456789\r\n00\r\n\r\n", 200),
            ("extensions", post("Transfer-Encoding: chunked") + b"5;a;b=c;d=\"e f;\"\r\nhello\r\n0;x\r\n\r\n", 200),
            ("trailers", post("Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\nX: a\r\nY: b\r\n\r\n", 200),
            ("a body to GET", get("Content-Length: 5") + b"hello", 200),
            ("absolute target wins over Host", get(target="http://other/hello"), 200),
            ("escaped letters", get(target="/h%65ll%6F"), 200),
            ("not found", get(target="/nothing"), 404),
        ]
        for name, data, status in good:
            with self.subTest(name), self.server.connect() as client:
                client.send(data + NEXT)
                self.assertEqual(client.read_response().status, status)
                second = client.read_response()
                self.assertEqual((second.status, second.body), (200, b"Hello, World!"))


class NoRequest(E2ETest):
    """No reply is sent for bytes that were not a request of their own."""

    def test_half_a_request(self):
        server = self.hello("--threads", 1)
        whole = make_request("POST", "/hello", body=b"hello")
        head_length = whole.index(b"\r\n\r\n") + 4
        for cut in list(range(1, head_length)):
            with self.subTest(cut=cut), server.connect() as client:
                client.send(whole[:cut])
                client.shut()
                self.assertTrue(client.is_closed(), bytes(client.buffer))

    def test_half_a_body(self):
        server = self.hello("--threads", 1)
        for body in (b"Content-Length: 10\r\n\r\nhello", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
                     b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"):
            with self.subTest(body=body), server.connect() as client:
                client.send(b"POST /echo HTTP/1.1\r\nHost: test\r\n" + body)
                client.shut()
                try:
                    response = client.read_response()
                    self.assertTrue(response.status == 400 or not response.complete, response)
                except Closed:
                    pass
                self.assertTrue(client.is_closed())

    def test_only_empty_lines(self):
        server = self.hello("--threads", 1)
        for data in (b"", b"\r\n"):
            with server.connect() as client:
                client.send(data)
                client.shut()
                self.assertTrue(client.is_closed(), bytes(client.buffer))

    def test_a_body_is_not_a_request(self):
        server = self.hello("--threads", 1)
        smuggled = make_request("GET", "/hello/smuggled")
        with server.connect() as client:
            client.send(make_request("GET", "/hello", body=smuggled))
            client.send(make_request("POST", "/hello", body=smuggled))
            client.send(make_request("POST", "/nothing", body=smuggled))
            client.send(make_request("GET", "/hello/last", ["Connection: close"]))
            seen = [client.read_response().status for _ in range(3)]
            self.assertEqual(seen, [200, 405, 404])
            self.assertEqual(client.read_response().body, b"Hello, last!")
            self.assertTrue(client.is_closed())

    def test_half_closed_clients_are_answered(self):
        server = self.hello("--threads", 1)
        with server.connect() as client:
            client.send(make_request("GET", "/hello") + make_request("GET", "/sleep/50") + make_request("GET", "/hello/x"))
            client.shut()
            self.assertEqual([client.read_response().status for _ in range(3)], [200, 200, 200])
            self.assertTrue(client.is_closed())


class Reports(E2ETest):
    def test_refusals_are_whole_responses(self):
        server = self.hello("--threads", 0)
        for data in (get(host=None), get(target="/" + "a" * 9000), get("X: " + "a" * 40000)):
            with server.connect() as client:
                client.send(data)
                response = client.read_response()
                self.assertTrue(response.complete)
                self.assertIsNotNone(response.header("Content-Length"))
                self.assertTrue(re.fullmatch(r"[A-Z][A-Za-z ]+", response.reason), response.reason)
