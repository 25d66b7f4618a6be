"""--proxy-from: programs behind proxies, which say with a PROXY header who the client is."""
import socket
import struct
import subprocess

from support import PATIENCE, Client, E2ETest, program, server_environment, write_file

REQUEST = b"GET /a.txt HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 80\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + struct.pack("!H", 36) + socket.inet_pton(socket.AF_INET6, "2001:db8::7") + \
    socket.inet_pton(socket.AF_INET6, "2001:db8::1") + struct.pack("!HH", 40000, 80)
V2_LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"


class ProxyFrom(E2ETest):
    threaded = True

    def setUp(self):
        self.site, self.log = self.folder(), self.folder() + "/access.log"
        write_file(f"{self.site}/a.txt", b"hello")

    def site_behind(self, proxies, *args, **options):
        return self.httpd(self.site, "--access-log", self.log, "--threads", 2, "--proxy-from", proxies, *args, **options)

    def ask(self, address, header, wanted=200):
        with Client(address) as client:
            client.send(header + REQUEST)
            self.assertEqual(client.read_response().status, wanted)

    def turned_away(self, address, header=b""):
        """Closed without a word; a reset, when more had come than was read."""
        with Client(address) as client:
            try:
                client.send(header + REQUEST)
                self.assertEqual(client.socket.recv(1), b"")
            except (ConnectionResetError, BrokenPipeError):
                pass

    def clients(self):
        with open(self.log, encoding="utf-8") as file:
            return [line.split()[0] for line in file]

    def test_the_log_has_the_client(self):
        server = self.site_behind("10.0.0.0/8,127.0.0.1")
        at = ("127.0.0.1", server.port)
        for header in (V1, V2, V2_LOCAL):
            self.ask(at, header)
        self.turned_away(at)
        server.stop()
        self.assertCountEqual(self.clients(), ["203.0.113.7", "2001:db8::7", "127.0.0.1"])

    def test_only_proxies_are_heard(self):
        server = self.site_behind("192.0.2.0/24")
        self.turned_away(("127.0.0.1", server.port))
        self.turned_away(("127.0.0.1", server.port), V1)
        server.await_log("only connections from its proxies are accepted there")
        server.stop()
        self.assertEqual(self.clients(), [])

    def test_every_listener(self):
        path = self.folder() + "/socket"
        server = self.site_behind("127.0.0.1,unix:", listen=["127.0.0.1:0", f"unix:{path}"])
        for at in (("127.0.0.1", server.port), path):
            self.ask(at, V1)
            self.turned_away(at, b"PROXY TCP4 203.0.113.300 192.0.2.1 1 2\r\n")
        server.stop()
        self.assertEqual(self.clients(), ["203.0.113.7"] * 2)

    def test_limits_count_the_client(self):
        server = self.start("rill-echo", "--threads", 2, "--proxy-from", "127.0.0.1", "--max-per-address", 1)
        at = ("127.0.0.1", server.port)

        def client(header):
            connection = Client(at)
            self.addCleanup(connection.close)
            connection.send(header + b"x")
            return connection.socket.recv(1)

        self.assertEqual(client(V1), b"x")
        self.assertEqual(client(V2), b"x")
        self.turned_away(at, V1)

    def test_rates_count_the_client(self):
        server = self.hello("--threads", 2, "--proxy-from", "127.0.0.1", "--request-rate", "1:1")
        for header in (V1, V2):  # two at once: no token grows between them, however slow the machine
            with server.connect() as client:
                client.send(header + 2 * b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                self.assertEqual(client.read_response().status, 200)
                refused = client.read_response()
                self.assertEqual((refused.status, refused.header("Retry-After")), (429, "1"))

    def test_behind_our_own_relay(self):
        """The site learns of the relay's clients, though all its connections come from one address."""
        server = self.site_behind("127.0.0.1/32")
        for version in ("v1", "v2"):
            relay = self.start("rill-relay", "--to", f"127.0.0.1:{server.port}", "--proxy", version,
                               "--check-interval", "0s", "--threads", 1)
            with socket.create_connection(("127.0.0.1", relay.port), PATIENCE, ("127.0.0.9", 0)) as client:
                client.sendall(REQUEST)
                self.assertIn(b"\r\n\r\nhello", client.makefile("rb").read())
            relay.stop()
        server.stop()
        self.assertEqual(self.clients(), ["127.0.0.9"] * 2)

    def test_what_is_no_list(self):
        for name in ("rill-echo", "rill-httpd"):
            for text in ("", "all", "10.0.0.1/8", "10.0.0.0/33", "::1,"):
                with self.subTest(name, text=text):
                    done = subprocess.run([program(name), "--proxy-from", text], capture_output=True, text=True,
                                          timeout=PATIENCE, check=False, env=server_environment())
                    self.assertEqual(done.returncode, 2, done)
                    self.assertRegex(done.stderr, rf'\A{name}: --proxy-from: "{text}" is not right: [^\n]+\n\Z')
