"""ab, wrk and slowhttptest as load: no errors."""
import re
import subprocess

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
    def test_slowhttptest(self):
        for options in (("-H",), ("-B", "-t", "POST"), ("-X", "-w", "10", "-y", "20", "-n", "1", "-z", "32")):
            server = self.hello("--threads", 1, "--header-timeout", "3s", "--body-timeout", "3s", "--write-timeout", "3s")
            target = "/echo" if "-B" in options else "/hello"
            out = self.tool("slowhttptest", "-c", 300, "-r", 300, "-i", 1, "-l", 3, "-p", 30, *options, "-u",
                            f"http://127.0.0.1:{server.port}{target}")
            plain = re.sub(r"\x1b\[[0-9;]*m", "", out)
            self.assertNotRegex(plain, r"service available:\s+NO", options)
            self.assertEqual(server.get("/hello").status, 200)
            server.stop()
