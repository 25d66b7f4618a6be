"""ab, wrk and slowhttptest as load: no errors."""
import re
import subprocess
import time

from support import E2ETest, have, sanitizer, write_file


class Tools(E2ETest):
    def tool(self, *command, seconds=60):
        if not have(command[0]):
            self.skipTest(f"{command[0]} is not installed")
        result = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=seconds)
        self.assertEqual(result.returncode, 0, result.stdout[-2000:] + result.stderr[-2000:])
        return result.stdout


class Load(Tools):
    serial = True

    def servers(self):
        root = self.folder()
        write_file(f"{root}/1k.html", b"k" * 1024)
        write_file(f"{root}/100k.bin", b"c" * 102400)
        hello = self.hello("--threads", 2)
        httpd = self.httpd(root, "--threads", 2)
        return [(hello, "/hello"), (httpd, "/1k.html"), (httpd, "/100k.bin")]

    def test_ab(self):
        count = 2000 if sanitizer() else 20000
        for server, target in self.servers():
            for options in (("-k",), ()):
                out = self.tool("ab", "-q", "-n", count, "-c", 50, *options, f"http://127.0.0.1:{server.port}{target}")
                self.assertRegex(out, r"Failed requests:\s+0\n")
                self.assertRegex(out, rf"Complete requests:\s+{count}\n")
                self.assertNotIn("Non-2xx", out)

    def test_wrk(self):
        for server, target in self.servers():
            out = self.tool("wrk", "-t1", "-c50", "-d2s", "--timeout", "60s", f"http://127.0.0.1:{server.port}{target}")
            self.assertNotIn("Socket errors", out)
            self.assertNotIn("Non-2xx", out)
            self.assertGreater(int(re.search(r"(\d+) requests in", out).group(1)), 0)


class SlowLoad(Tools):
    """slowhttptest opens more connections than the server may have, and is slow on each; others are served."""

    serial = True
    LIMIT = 500
    MODES = {"heads": ("-H", "-x", "24"), "bodies": ("-B", "-t", "POST", "-s", "8192", "-x", "10"),
             "ranges": ("-R", "-a", "10", "-b", "3000"),
             "reads": ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32", "-k", "3")}  # fmt: skip

    def attack(self, mode, reaches_the_limit):
        if not have("slowhttptest"):
            self.skipTest("slowhttptest is not installed")
        root = self.folder()
        write_file(f"{root}/page", b"p" * 200000)
        write_file(f"{root}/small", b"s" * 100)
        limit = ("--threads", 1, "--max-connections", self.LIMIT)
        # A file server does not wait for a body: it has no use for one.
        server = self.hello(*limit) if mode == "bodies" else self.httpd(root, *limit)
        probe = "/hello" if mode == "bodies" else "/small"
        url = f"http://127.0.0.1:{server.port}" + ("/echo" if mode == "bodies" else "/page")
        command = ["slowhttptest", "-c", "1500", "-r", "500", "-i", "1", "-l", "8", "-p", "5", *self.MODES[mode], "-u", url]
        took = []
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tool:
            try:
                if reaches_the_limit:
                    server.await_log(f"overload: connections come near the limit of {self.LIMIT}")
                while tool.poll() is None:
                    began = time.monotonic()
                    self.assertEqual(server.get(probe).status, 200)
                    took.append(time.monotonic() - began)
                    time.sleep(0.05)
            finally:
                tool.kill()
        self.assertGreater(len(took), 3)
        print(f"     slow {mode}: {len(took)} normal requests, the slowest in {max(took) * 1000:.0f} ms")
        self.assertEqual(server.get(probe).status, 200)

    def test_slow_heads(self):
        self.attack("heads", True)

    def test_slow_bodies(self):
        self.attack("bodies", True)

    def test_slow_reads(self):
        self.attack("reads", True)

    def test_overlapping_ranges(self):
        self.attack("ranges", False)
