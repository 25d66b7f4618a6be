"""10,000 mixed requests to rill-hello, compared byte for byte with a simple reference.

The reference takes the layout of a head from one request made alone (its Date and Content-Length replaced), and makes
every body and length on its own."""
import random
import re

from support import E2ETest, make_request, chunked, sanitizer

TOTAL = 10000
CONNECTIONS = 8


def fnv1a(text):
    value = 0xcbf29ce484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001b3 % 2**64
    return b"%016x" % value


def normalise(head, length=None):
    head = re.sub(rb"\r\nDate: [^\r]+", b"\r\nDate: now", head)
    if length is not None:
        head = re.sub(rb"\r\nContent-Length: \d+", b"\r\nContent-Length: %d" % length, head)
    return head


class Reference:
    """Knows for each kind of request what must come back."""

    def __init__(self, server):
        self.heads = {}
        for kind, request, method in (
                ("hello", make_request("GET", "/hello"), "GET"),
                ("name", make_request("GET", "/hello/x"), "GET"),
                ("head", make_request("HEAD", "/hello"), "HEAD"),
                ("echo", make_request("POST", "/echo", body=b"x"), "POST"),
                ("chunked", make_request("POST", "/echo", ["Transfer-Encoding: chunked"]) + chunked(b"x", [1]), "POST"),
                ("hash", make_request("GET", "/hash/x"), "GET"),
                ("sleep", make_request("GET", "/sleep/0"), "GET"),
                ("missing", make_request("GET", "/nothing"), "GET"),
                ("method", make_request("DELETE", "/hello"), "DELETE"),
                ("options", make_request("OPTIONS", "/hello"), "OPTIONS"),
                ("old", make_request("GET", "/hello", ["Connection: keep-alive"], version="1.0"), "GET")):
            with server.connect() as client:
                client.send(request)
                response = client.read_response(method)
                self.heads[kind] = (response.raw_head, response.body)

    def expect(self, kind, body=None):
        head, alone = self.heads[kind]
        if body is None:
            body = alone
        return normalise(head, None if kind in ("head", "options") else len(body)), body


def random_request(rng, reference):
    """(bytes, method, expected head, expected body)"""
    text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789-_.~") for _ in range(rng.randrange(1, 40)))
    noise = [f"X-{rng.randrange(10)}: {text}" for _ in range(rng.randrange(4))]
    kind = rng.choice(list(reference.heads))
    body = None
    if kind == "hello":
        data, method = make_request("GET", rng.choice(["/", "/hello", "/hello?" + text, "http://test/hello"]), noise), "GET"
        body = b"Hello, World!"
    elif kind == "name":
        if text in (".", ".."):
            text = "dot"
        data, method, body = make_request("GET", "/hello/" + text, noise), "GET", f"Hello, {text}!".encode()
    elif kind == "head":
        data, method = make_request("HEAD", "/hello", noise), "HEAD"
    elif kind in ("echo", "chunked"):
        body, method = rng.randbytes(rng.choice([1, 10, 100, 1000, 5000, 70000]) if rng.random() < 0.3 else rng.randrange(1, 200)), "POST"
        if kind == "echo":
            data = make_request("POST", "/echo", noise, body)
        else:
            sizes = [rng.randrange(1, 3000) for _ in range(3)]
            data = make_request("POST", "/echo", noise + ["Transfer-Encoding: chunked"]) + \
                chunked(body, sizes, rng.choice(["", "X: y\r\n"]))
    elif kind == "hash":
        if text in (".", ".."):
            text = "dot"
        data, method, body = make_request("GET", "/hash/" + text, noise), "GET", fnv1a(text.encode())
        if reference.heads["hash"][1] != fnv1a(b"x"):  # with something around it, as a newline
            body = reference.heads["hash"][1].replace(fnv1a(b"x"), body)
    elif kind == "sleep":
        data, method = make_request("GET", f"/sleep/{rng.randrange(4)}", noise), "GET"
    elif kind == "missing":
        data, method = make_request("GET", "/nothing", noise), "GET"
    elif kind == "method":
        data, method = make_request("DELETE", "/hello", noise), "DELETE"
    elif kind == "options":
        data, method = make_request("OPTIONS", "/hello", noise), "OPTIONS"
    else:
        data, method, body = make_request("GET", "/hello", noise + ["Connection: keep-alive"], version="1.0"), "GET", b"Hello, World!"
    head, body = reference.expect(kind, body)
    return data, method, head, body


class Mixed(E2ETest):
    threaded = True

    def check(self, client, sent):
        for data, method, head, body in sent:
            response = client.read_response(method)
            self.assertEqual((normalise(response.raw_head), response.body), (head, body), data[:300])

    def talk(self, server, reference, seed, count):
        rng = random.Random(seed)
        with server.connect() as client:
            left = count
            while left > 0:
                depth = min(left, 1 if seed % 2 else rng.randrange(1, 17))
                left -= depth
                requests = [random_request(rng, reference) for _ in range(depth)]
                data = b"".join(r[0] for r in requests)
                if rng.random() < 0.05:
                    cuts = sorted(rng.randrange(len(data)) for _ in range(3))
                    client.send_pieces(data, cuts, pause=0.0005)
                    self.check(client, requests)
                else:  # beside reading: a server may stop to read from one who does not
                    join = self.in_background(client.send, data) if len(data) > 50000 else client.send(data)
                    self.check(client, requests)
                    if join:
                        join()

    def run_all(self, *args):
        server = self.hello(*args)
        reference = Reference(server)
        total = TOTAL // 4 if sanitizer() == "thread" else TOTAL
        joins = [self.in_background(self.talk, server, reference, seed, total // CONNECTIONS) for seed in range(CONNECTIONS)]
        for join in joins:
            join(100)

    def test_ten_thousand(self):
        self.run_all("--threads", 2, "--workers", 2)


class MixedAlone(Mixed):
    threaded = False

    def test_ten_thousand(self):
        self.run_all("--threads", 0, "--workers", 1)
