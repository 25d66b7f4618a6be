"""rill-socks5 as RFC 1928 and RFC 1929 have it: what it accepts, what it refuses and how, in any pieces."""
import os
import socket
import struct
import subprocess
import threading
import time
import unittest

from support import E2ETest, have, program, server_environment

NO_AUTH, BY_PASSWORD, NONE = 0, 2, 0xFF
NOWHERE = b"a" * 64 + b".invalid"  # no name server needs to be asked: labels have 63 bytes at most
SUCCEEDED, FAILED, HOST_UNREACHABLE, REFUSED, NO_COMMAND, NO_TYPE = 0, 1, 4, 5, 7, 8


def greeting(*methods):
    return bytes([5, len(methods), *methods])


def password(name, secret, version=1):
    return bytes([version, len(name)]) + name + bytes([len(secret)]) + secret


def request(host, port, command=1, version=5, reserved=0):
    """HOST: bytes of a name, or text of an address."""
    if isinstance(host, bytes):
        address = bytes([3, len(host)]) + host
    elif ":" in host:
        address = b"\4" + socket.inet_pton(socket.AF_INET6, host)
    else:
        address = b"\1" + socket.inet_aton(host)
    return bytes([version, command, reserved]) + address + struct.pack(">H", port)


class Socks5Test(E2ETest):
    def echo(self, family=socket.AF_INET):
        """Where an echo server listens that says hello first."""
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        listener = socket.create_server((host, 0), family=family, backlog=100)
        self.addCleanup(listener.close)

        def serve(connection):
            with connection:
                try:
                    connection.sendall(b"hello ")
                    while data := connection.recv(65536):
                        connection.sendall(data)
                    connection.sendall(b" bye")
                except OSError:
                    pass

        def accept():
            while True:
                try:
                    connection, unused = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[:2]

    def dial(self, server):
        connection = socket.create_connection(("127.0.0.1", server.port), 20)
        self.addCleanup(connection.close)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def hear(self, connection, length):
        data = bytearray()
        while len(data) < length and (more := connection.recv(length - len(data))):
            data += more
        return bytes(data)

    def hear_all(self, connection):
        """Up to the end, which is no reset."""
        return self.hear(connection, 1 << 30)

    def expect(self, connection, expected):
        self.assertEqual(self.hear(connection, len(expected)), expected)

    def expect_reply(self, connection, code):
        reply = self.hear(connection, 4)
        self.assertEqual((reply[0], reply[2]), (5, 0))
        self.assertEqual(reply[1], code)
        bound = self.hear(connection, {1: 6, 4: 18}[reply[3]])
        return bound[:-2], struct.unpack(">H", bound[-2:])[0]

    def expect_refusal(self, server, sent, said):
        """After SENT it says SAID, and then nothing more."""
        connection = self.dial(server)
        connection.sendall(sent)
        self.assertEqual(self.hear_all(connection), said, sent)


def refusal(code):
    return bytes([5, code, 0, 1]) + bytes(6)


class Connect(Socks5Test):
    threaded = True

    def test_to_an_ipv4_address_an_ipv6_address_and_a_name(self):
        server = self.start("rill-socks5")
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET, b"localhost"),
                             (socket.AF_INET, b"127.0.0.1")):  # fmt: skip
            with self.subTest(host=host):
                unused, port = self.echo(family)
                client = self.dial(server)
                client.sendall(greeting(NO_AUTH))
                self.expect(client, b"\5\0")
                client.sendall(request(host, port))
                bound, bound_port = self.expect_reply(client, SUCCEEDED)
                self.assertEqual(bound, socket.inet_pton(family, "::1" if family == socket.AF_INET6 else "127.0.0.1"))
                self.assertGreater(bound_port, 0)
                self.expect(client, b"hello ")
                client.sendall(b"world")
                self.expect(client, b"world")
                client.shutdown(socket.SHUT_WR)
                self.assertEqual(self.hear_all(client), b" bye")

    def test_every_split(self):
        """In two pieces wherever they can meet, with the first bytes for the other side behind them."""
        server = self.start("rill-socks5", "--user", "me:secret")
        unused, port = self.echo()
        whole = greeting(NO_AUTH, BY_PASSWORD) + password(b"me", b"secret") + request(b"localhost", port) + b"early"
        clients = [self.dial(server) for unused in range(len(whole))]
        for cut, client in enumerate(clients):
            client.sendall(whole[:cut])
        time.sleep(0.1)
        for cut, client in enumerate(clients):
            client.sendall(whole[cut:])
        for client in clients:
            client.shutdown(socket.SHUT_WR)
            self.expect(client, b"\5\2\1\0")
            self.expect_reply(client, SUCCEEDED)
            self.assertEqual(self.hear_all(client), b"hello early bye")

    def test_byte_by_byte(self):
        server = self.start("rill-socks5", "--user", "me:secret")
        unused, port = self.echo()
        client = self.dial(server)
        for byte in greeting(BY_PASSWORD) + password(b"me", b"secret") + request("127.0.0.1", port) + b"x":
            client.sendall(bytes([byte]))
            time.sleep(0.002)
        self.expect(client, b"\5\2\1\0")
        self.expect_reply(client, SUCCEEDED)
        self.expect(client, b"hello x")

    def test_much(self):
        server = self.start("rill-socks5")
        host, port = self.echo()
        client = self.dial(server)
        sent = os.urandom(1 << 20) * 16
        client.sendall(greeting(NO_AUTH) + request(host, port))
        self.expect(client, b"\5\0")
        self.expect_reply(client, SUCCEEDED)
        join = self.in_background(lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
        got = self.hear_all(client)
        join()
        self.assertTrue(got == b"hello " + sent + b" bye")

    def test_what_cannot_be_reached(self):
        server = self.start("rill-socks5")
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            for host, code in (("127.0.0.1", REFUSED), (b"localhost", REFUSED), (NOWHERE, HOST_UNREACHABLE)):
                with self.subTest(host=host):
                    self.expect_refusal(server, greeting(NO_AUTH) + request(host, port), b"\5\0" + refusal(code))

    def test_what_does_not_answer(self):
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for unused in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        server = self.start("rill-socks5", "--connect-timeout", "100ms")
        self.expect_refusal(server, greeting(NO_AUTH) + request(*full.getsockname()),
                            b"\5\0" + refusal(HOST_UNREACHABLE))  # fmt: skip

    def test_a_client_who_leaves_while_it_connects(self):
        full = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(full.close)
        for unused in range(3):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        server = self.start("rill-socks5", "--drain-timeout", "100ms")
        client = self.dial(server)
        client.sendall(greeting(NO_AUTH) + request(*full.getsockname()))
        self.expect(client, b"\5\0")
        server.stop()  # with the connect under way


class Refusals(Socks5Test):
    def test_commands_and_types(self):
        server = self.start("rill-socks5")
        host, port = self.echo()
        before = greeting(NO_AUTH)
        for bad, code in (
            (request(host, port, command=2), NO_COMMAND),  # BIND
            (request(host, port, command=3), NO_COMMAND),  # UDP ASSOCIATE
            (request(host, port, command=0), NO_COMMAND),
            (request(host, port, command=255), NO_COMMAND),
            (request(host, port, version=4), FAILED),
            (request(host, port, reserved=1), FAILED),
            (b"\5\1\0\2" + bytes(6), NO_TYPE),
            (b"\5\1\0\0" + bytes(6), NO_TYPE),
            (b"\5\1\0\xff" + bytes(2), NO_TYPE),
            (request(b"", port), HOST_UNREACHABLE),
        ):
            with self.subTest(bad=bad):
                self.expect_refusal(server, before + bad, b"\5\0" + refusal(code))
                self.expect_refusal(server, before + bad + bytes(3000), b"\5\0" + refusal(code))

    def test_a_name_is_a_name_and_nothing_else(self):
        path = os.path.join(self.folder(), "socket")
        with socket.socket(socket.AF_UNIX) as private:
            private.bind(path)
            private.listen()
            server = self.start("rill-socks5")
            for name in (f"unix:{path}".encode(), b"*", b"[::1]", b"::1", b"a\0b", b"a b", b"a:1", b"\xff"):
                with self.subTest(name=name):
                    self.expect_refusal(server, greeting(NO_AUTH) + request(name, 80),
                                        b"\5\0" + refusal(HOST_UNREACHABLE))  # fmt: skip

    def test_greetings(self):
        server = self.start("rill-socks5")
        self.expect_refusal(server, greeting(), b"\5\xff")
        self.expect_refusal(server, greeting(BY_PASSWORD), b"\5\xff")
        self.expect_refusal(server, greeting(1, 3, 4, 0x80, 0xFE), b"\5\xff")
        self.expect_refusal(server, greeting(*range(1, 256)) + bytes(1000), b"\5\xff")
        for other in (b"\4", b"\4\1\0\x50\x7f\0\0\1\0", b"GET / HTTP/1.1\r\n\r\n", b"\0"):
            client = self.dial(server)
            client.sendall(other)
            try:
                self.assertEqual(self.hear_all(client), b"")
            except ConnectionResetError:
                pass  # what it had sent was not read
        client = self.dial(server)  # as many methods as there can be
        client.sendall(greeting(*range(254, -1, -1)))
        self.expect(client, b"\5\0")

    def test_users(self):
        server = self.start("rill-socks5", "--user", "me:secret", "--user", "you:pass:word", "--user", "a:" + "b" * 255)
        host, port = self.echo()
        for name, secret in ((b"me", b"secret"), (b"you", b"pass:word"), (b"a", b"b" * 255)):
            client = self.dial(server)
            client.sendall(greeting(NO_AUTH, BY_PASSWORD))
            self.expect(client, b"\5\2")
            client.sendall(password(name, secret))
            self.expect(client, b"\1\0")
            client.sendall(request(host, port))
            self.expect_reply(client, SUCCEEDED)
            self.expect(client, b"hello ")
        for name, secret in ((b"me", b"wrong!"), (b"me", b"secre"), (b"me", b"secret!"), (b"you", b"secret"), (b"", b""),
                             (b"me", b""), (b"", b"secret"), (b"ME", b"secret"), (b"m", b"e:secret"), (b"x" * 255, b"y" * 255),
                             (b"me\0", b"secret")):  # fmt: skip
            with self.subTest(name=name, secret=secret):
                self.expect_refusal(server, greeting(BY_PASSWORD) + password(name, secret) + request(host, port),
                                    b"\5\2\1\1")  # fmt: skip
        self.expect_refusal(server, greeting(BY_PASSWORD) + password(b"me", b"secret", version=5), b"\5\2\1\1")
        self.expect_refusal(server, greeting(NO_AUTH), b"\5\xff")

    def test_any_prefix_may_be_the_end(self):
        server = self.start("rill-socks5", "--user", "me:secret")
        whole = greeting(NO_AUTH, BY_PASSWORD) + password(b"me", b"secret") + request(b"localhost", 1)
        for length in range(len(whole)):
            client = self.dial(server)
            client.sendall(whole[:length])
            client.shutdown(socket.SHUT_WR)
            self.assertIn(self.hear_all(client), (b"", b"\5\2", b"\5\2\1\0"))

    def test_usage(self):
        for args in (["--user", "nobody"], ["--user", ":x"], ["--user", "x:"], ["--user", "x" * 256 + ":y"],
                     ["--user", "a:b"] * 65, ["--connect-timeout", "0"]):  # fmt: skip
            with self.subTest(args=args[:2]):
                result = subprocess.run([program("rill-socks5"), *args], capture_output=True, text=True, timeout=20,
                                        env=server_environment())  # fmt: skip
                self.assertEqual(result.returncode, 2)
                self.assertRegex(result.stderr, r"\Arill-socks5: [^\n]+\n\Z")


@unittest.skipUnless(have("curl"), "curl is not installed")
class Curl(Socks5Test):
    def curl(self, server, *args):
        return subprocess.run(["curl", "-sS", "--max-time", "20", *args], capture_output=True, text=True, timeout=30,
                              env={**os.environ, "NO_PROXY": ""})  # fmt: skip

    def test_curl(self):
        web = self.start("rill-hello", listen=["127.0.0.1:0", "[::1]:0"])
        port6 = web.addresses[1].rsplit(":", 1)[1]
        open_to_all, with_users = self.start("rill-socks5"), self.start("rill-socks5", "--user", "me:secret")
        for how in ("--socks5", "--socks5-hostname"):
            for host in (f"127.0.0.1:{web.port}", f"localhost:{web.port}", f"[::1]:{port6}"):
                for server, user in ((open_to_all, ""), (with_users, "me:secret@")):
                    with self.subTest(how=how, host=host, user=user):
                        result = self.curl(server, how, f"{user}127.0.0.1:{server.port}", f"http://{host}/hello/socks")
                        self.assertEqual((result.returncode, result.stdout), (0, "Hello, socks!"), result.stderr)

    def test_curl_is_told_what_is_wrong(self):
        web = self.start("rill-hello")
        server = self.start("rill-socks5", "--user", "me:secret")
        for user, url, says in (
            ("me:wrong@", f"http://127.0.0.1:{web.port}/", "rejected"),
            ("", f"http://127.0.0.1:{web.port}/", "acceptable"),
            ("me:secret@", f"http://{NOWHERE.decode()}/", "(4)"),
            ("me:secret@", "http://127.0.0.1:1/", "(5)"),
        ):
            with self.subTest(says=says):
                result = self.curl(server, "--socks5-hostname", f"{user}127.0.0.1:{server.port}", url)
                self.assertEqual(result.returncode, 97, result)
                self.assertIn(says, result.stderr)
