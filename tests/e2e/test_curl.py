"""curl as a real client for every feature."""
import os
import random
import socket
import subprocess

from support import E2ETest, Server, SharedServerTest, have, write_file


class Curl(SharedServerTest):
    @classmethod
    def make_server(cls):
        cls.root = os.path.join(cls.class_folder, "root")
        cls.content = random.Random(9).randbytes(2 << 20)
        write_file(f"{cls.root}/data.bin", cls.content, 1600000000)
        write_file(f"{cls.root}/index.html", b"<h1>home</h1>")
        write_file(f"{cls.root}/sub/index.html", b"<h1>sub</h1>")
        cls.hello_server = Server("rill-hello", "--threads", 2, "--max-body-bytes", "100m")
        return Server("rill-httpd", "--threads", 2, cls.root)

    @classmethod
    def tearDownClass(cls):
        try:
            cls.hello_server.stop()
        finally:
            super().tearDownClass()

    def setUp(self):
        if not have("curl"):
            self.skipTest("curl is not installed")

    def curl(self, *args, expected=0):
        result = subprocess.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "30", *args], capture_output=True, timeout=40)
        self.assertEqual(result.returncode, expected, f"curl {args}: {result.stderr.decode()}")
        return result.stdout

    def url(self, path, server=None):
        return f"http://127.0.0.1:{(server or self.server).port}{path}"

    def hello_url(self, path):
        return self.url(path, self.hello_server)

    def test_get(self):
        self.assertEqual(self.curl(self.url("/")), b"<h1>home</h1>")
        self.assertEqual(self.curl(self.url("/data.bin")), self.content)
        self.assertEqual(self.curl(self.hello_url("/hello/curl")), b"Hello, curl!")

    def test_head(self):
        out = self.curl("-I", self.url("/data.bin")).decode()
        self.assertTrue(out.startswith("HTTP/1.1 200 OK\r\n"))
        self.assertIn(f"Content-Length: {len(self.content)}\r\n", out)

    def test_fail_on_errors(self):
        self.curl("-f", self.url("/nothing"), expected=22)

    def test_range(self):
        self.assertEqual(self.curl("-r", "100-199", self.url("/data.bin")), self.content[100:200])
        self.assertEqual(self.curl("-r", "-100", self.url("/data.bin")), self.content[-100:])
        self.assertIn(self.content[10:20], self.curl("-r", "0-5,10-19", self.url("/data.bin")))

    def test_resume(self):
        path = f"{self.class_folder}/part"
        write_file(path, self.content[:700001])
        self.curl("-C", "-", "-o", path, self.url("/data.bin"))
        with open(path, "rb") as file:
            self.assertEqual(file.read(), self.content)
        self.curl("-C", "-", "-o", path, self.url("/data.bin"))  # nothing is left to do: 416, which curl knows

    def test_conditional(self):
        path = f"{self.class_folder}/etag"
        self.curl("--etag-save", path, "-o", "/dev/null", self.url("/data.bin"))
        out = self.curl("--etag-compare", path, "-w", "%{http_code}", self.url("/data.bin"))
        self.assertEqual(out, b"304")
        self.assertEqual(self.curl("-z", "1 Jan 2040 00:00:00 GMT", "-w", "%{http_code}", self.url("/data.bin")), b"304")

    def test_compressed_is_harmless(self):
        self.assertEqual(self.curl("--compressed", self.url("/data.bin")), self.content)

    def test_redirect(self):
        self.assertEqual(self.curl("-L", self.url("/sub")), b"<h1>sub</h1>")

    def test_post(self):
        self.assertEqual(self.curl("-d", "a=b&c=d", self.hello_url("/echo")), b"a=b&c=d")
        self.assertEqual(self.curl("--data-binary", f"@{self.root}/data.bin", self.hello_url("/echo")), self.content)

    def test_expect(self):
        out = self.curl("-v", "-H", "Expect: 100-continue", "--data-binary", f"@{self.root}/data.bin", "--stderr", "-",
                        "-o", "/dev/null", self.hello_url("/echo"))
        self.assertIn(b"< HTTP/1.1 100 Continue", out)

    def test_chunked_upload(self):
        self.assertEqual(self.curl("-H", "Transfer-Encoding: chunked", "--data-binary", f"@{self.root}/data.bin",
                                   self.hello_url("/echo")), self.content)
        self.assertEqual(self.curl("-X", "POST", "-H", "Transfer-Encoding: chunked", "-T", f"{self.root}/data.bin",
                                   self.hello_url("/echo")), self.content)

    def test_upload(self):
        self.assertEqual(self.curl("-X", "POST", "-T", f"{self.root}/data.bin", self.hello_url("/echo")), self.content)
        self.assertEqual(self.curl("-T", f"{self.root}/index.html", "-o", "/dev/null", "-w", "%{http_code}", self.url("/new.bin")), b"405")
        self.assertFalse(os.path.exists(f"{self.root}/new.bin"))

    def test_form(self):
        self.assertIn(b"name=\"file\"", self.curl("-F", f"file=@{self.root}/index.html", self.hello_url("/echo")))

    def test_http_1_0(self):
        self.assertEqual(self.curl("-0", self.url("/data.bin")), self.content)
        self.assertEqual(self.curl("-0", "-d", "x", self.hello_url("/echo")), b"x")

    def test_keep_alive(self):
        out = self.curl("-w", "%{num_connects}\n", "-o", "/dev/null", self.url("/"), "-o", "/dev/null", self.url("/data.bin"),
                        "-o", "/dev/null", self.url("/nothing"), "-o", "/dev/null", self.url("/sub/"))
        self.assertEqual(out.split(), [b"1", b"0", b"0", b"0"])

    def test_options(self):
        out = self.curl("-i", "-X", "OPTIONS", self.url("/")).decode()
        self.assertRegex(out, r"^HTTP/1\.1 20[04] ")
        self.assertRegex(out, r"Allow: .*GET")
        self.curl("-i", "-X", "OPTIONS", "--request-target", "*", self.url("/"))

    def test_as_a_proxy_would(self):
        self.assertEqual(self.curl("--request-target", "http://example.org/sub/", self.url("/")), b"<h1>sub</h1>")

    def test_path_as_is(self):
        code = self.curl("--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", self.url("/../../../etc/passwd"))
        self.assertIn(code, (b"400", b"403", b"404"))

    def test_parallel(self):
        out = self.curl("-Z", "--parallel-max", "20", "-w", "%{http_code}\n", "-o", "/dev/null",
                        self.url("/data.bin?[1-40]"))
        self.assertEqual(out.split(), [b"200"] * 40)

    def test_slow_reader(self):
        self.assertEqual(self.curl("--limit-rate", "1M", self.url("/data.bin")), self.content)

    def test_sleep_and_hash(self):
        self.assertEqual(self.curl("-w", "%{http_code}", "-o", "/dev/null", self.hello_url("/sleep/100")), b"200")
        self.assertEqual(self.curl("-w", "%{http_code}", "-o", "/dev/null", self.hello_url("/hash/curl")), b"200")


class CurlSockets(E2ETest):
    def setUp(self):
        if not have("curl"):
            self.skipTest("curl is not installed")

    def curl(self, *args):
        return subprocess.run(["curl", "-q", "-sS", "--noproxy", "*", "--max-time", "20", *args], capture_output=True, check=True,
                              timeout=30).stdout

    def test_unix_socket(self):
        path = f"{self.folder()}/socket"
        self.hello("--threads", 1, listen=[f"unix:{path}"])
        self.assertEqual(self.curl("--unix-socket", path, "http://localhost/hello"), b"Hello, World!")

    def test_ipv6(self):
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        server = self.hello("--threads", 1, listen=["[::1]:0"])
        self.assertEqual(self.curl("-g", f"http://[::1]:{server.port}/hello"), b"Hello, World!")
