"""The command line: usage errors, failures to start, and every option that changes how the server runs."""
import os
import re
import socket
import stat
import subprocess

from support import Client, E2ETest, make_request, program, server_environment, write_file

SHARED = ["--listen", "--threads", "--workers", "--worker-queue", "--accept", "--backend", "--pin", "--idle-timeout",
          "--header-timeout", "--body-timeout", "--write-timeout", "--drain-timeout", "--stall-threshold", "--max-connections",
          "--max-buffered-bytes", "--max-requests", "--request-rate", "--accept-rate", "--max-header-bytes", "--max-body-bytes", "--log-level", "--help", "--version"]


def run(name, *args):
    """Runs a program that is to end by itself."""
    return subprocess.run([program(name), *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
                          env=server_environment())


class Usage(E2ETest):
    def check_usage(self, name, args, says):
        result = run(name, *args)
        self.assertEqual(result.returncode, 2, f"{args}: {result}")
        self.assertEqual(result.stdout, "")
        self.assertRegex(result.stderr, rf"\A{name}: [^\n]+\n\Z", args)
        self.assertIn(says, result.stderr)

    def test_usage_errors(self):
        table = [
            (["--nonsense"], "--nonsense"), (["-x"], "-x"), (["--listen"], "--listen"), (["--threads"], "--threads"),
            (["--threads", "x"], "--threads"), (["--threads", "-1"], "--threads"), (["--threads", "1.5"], "--threads"),
            (["--threads", "100000"], "--threads"), (["--threads="], "--threads"), (["--workers", "x"], "--workers"),
            (["--workers", "0"], "--workers"), (["--worker-queue", "x"], "--worker-queue"),
            (["--listen", "nonsense"], "--listen"), (["--listen", ""], "--listen"), (["--listen", "127.0.0.1"], "--listen"),
            (["--listen", "127.0.0.1:99999"], "--listen"), (["--listen", "127.0.0.1:x"], "--listen"),
            (["--listen", "[::1"], "--listen"), (["--listen", "[::1]"], "--listen"), (["--listen", "unix:"], "--listen"),
            (["--listen", "unix:/" + "x" * 200], "--listen"), (["--accept", "nonsense"], "--accept"),
            (["--accept", ""], "--accept"), (["--backend", "kqueue"], "--backend"), (["--log-level", "loud"], "--log-level"),
            (["--max-connections", "x"], "--max-connections"), (["--pin=1"], "--pin"),
            (["--max-requests", "0"], "--max-requests"), (["--request-rate", "0"], "--request-rate"),
            (["--request-rate", "1:"], "--request-rate"), (["--accept-rate", "1.5"], "--accept-rate"),
            (["--max-buffered-bytes", "1k"], "--max-buffered-bytes"),
        ]
        for option in ("--idle-timeout", "--header-timeout", "--body-timeout", "--write-timeout", "--drain-timeout",
                       "--stall-threshold"):
            table += [([option, value], option) for value in ("", "x", "10", "10x", "-1s", "1.5s", "s", "1 s",
                                                              "99999999999999999999s") if value != "10"]
        for option in ("--max-header-bytes", "--max-body-bytes"):
            table += [([option, value], option) for value in ("", "x", "10x", "-1", "1.5k", "k", "99999999999999999999")]
        for name in ("rill-hello", "rill-httpd"):
            for args, says in table:
                with self.subTest(name, args=args):
                    self.check_usage(name, args, says)

    def test_numbers_out_of_range(self):
        for args, says in ((["--workers", "0"], "from 1 to 1024 is wanted"), (["--stall-threshold", "2h"], "from 0"),
                           (["--max-header-bytes", "10"], "from 256"), (["--idle-timeout", "0s"], "at least 1ms is wanted")):
            self.check_usage("rill-hello", args, f'"{args[1]}" is not right: {says}')

    def test_operands(self):
        self.check_usage("rill-hello", ["operand"], "operand")
        self.check_usage("rill-httpd", [".", "second"], "second")

    def test_help(self):
        for name in ("rill-hello", "rill-httpd"):
            result = run(name, "--help")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            for option in SHARED:
                self.assertRegex(result.stdout, rf"{option}\b", name)
            self.assertIn(name, result.stdout)
        self.assertIn("ROOT", run("rill-httpd", "--help").stdout)
        self.assertIn("--listing", run("rill-httpd", "--help").stdout)

    def test_version(self):
        for name in ("rill-hello", "rill-httpd"):
            result = run(name, "--version")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertRegex(result.stdout, rf"\A{name} \d+\.\d+\S*\n\Z")

    def test_values_with_units(self):
        for args in (("--idle-timeout", "500ms", "--header-timeout", "30s", "--body-timeout", "5m", "--drain-timeout=2s"),
                     ("--max-header-bytes", "64k", "--max-body-bytes", "10m"), ("--max-body-bytes=1g",),
                     ("--max-header-bytes", "1024", "--max-body-bytes", "1024")):
            with self.subTest(args):
                server = self.hello("--threads", 0, *args)
                self.assertEqual(server.get("/hello").status, 200)
                server.stop()


class Start(E2ETest):
    def check_failure(self, name, args, *says):
        result = run(name, *args)
        self.assertEqual(result.returncode, 1, result)
        for text in says:
            self.assertIn(text, result.stderr)
        self.assertNotIn("Sanitizer", result.stderr)

    def test_port_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            for threads in ("0", "2"):
                self.check_failure("rill-hello", ["--listen", address, "--threads", threads], f"cannot listen on {address}: ",
                                   "in use")
            self.check_failure("rill-hello", ["--listen", "127.0.0.1:0", "--listen", address], f"cannot listen on {address}")
            self.check_failure("rill-hello", ["--listen", address, "--accept", "reuseport"], f"cannot listen on {address}")

    def test_address_of_nobody(self):
        self.check_failure("rill-hello", ["--listen", "192.0.2.1:8080"], "cannot listen on 192.0.2.1:8080: ")

    def test_folder_that_is_not_there(self):
        self.check_failure("rill-httpd", ["--listen", "127.0.0.1:0", "/nonexistent/root"], "/nonexistent/root")

    def test_root_that_is_a_file(self):
        folder = self.folder()
        write_file(f"{folder}/file", b"x")
        self.check_failure("rill-httpd", ["--listen", "127.0.0.1:0", f"{folder}/file"], f"{folder}/file")

    def test_logs_that_cannot_be_opened(self):
        folder = self.folder()
        self.check_failure("rill-httpd", ["--listen", "127.0.0.1:0", "--access-log", "/nonexistent/log", folder], "/nonexistent/log")

    def test_unix_socket_folder_that_is_not_there(self):
        self.check_failure("rill-hello", ["--listen", "unix:/nonexistent/socket"], "cannot listen on unix:/nonexistent/socket: ")


class Listening(E2ETest):
    def request(self, address):
        with Client(address) as client:
            response = client.request("GET", "/hello")
            self.assertEqual(response.body, b"Hello, World!")

    def test_unix_socket(self):
        path = f"{self.folder()}/socket"
        for _ in range(2):
            server = self.hello("--threads", 1, listen=[f"unix:{path}"])
            for _ in range(5):
                self.request(path)
            server.stop()

    def test_stale_unix_socket(self):
        path = f"{self.folder()}/socket"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        self.hello("--threads", 1, listen=[f"unix:{path}"])
        self.request(path)

    def test_unix_socket_after_a_crash(self):
        path = f"{self.folder()}/socket"
        first = self.hello("--threads", 1, listen=[f"unix:{path}"])
        first.process.kill()
        first.process.wait()
        first.stopped = True
        first.errors.close()
        self.hello("--threads", 1, listen=[f"unix:{path}"])
        self.request(path)

    def test_unix_socket_in_use(self):
        path = f"{self.folder()}/socket"
        self.hello("--threads", 1, listen=[f"unix:{path}"])
        result = run("rill-hello", "--listen", f"unix:{path}")
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"cannot listen on unix:{path}", result.stderr)
        self.request(path)

    def test_a_file_in_the_place_of_the_socket_is_kept(self):
        path = f"{self.folder()}/file"
        write_file(path, b"precious")
        result = run("rill-hello", "--listen", f"unix:{path}")
        self.assertEqual(result.returncode, 1)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"precious")

    def test_unix_socket_goes_with_the_server(self):
        path = f"{self.folder()}/socket"
        server = self.hello("--threads", 1, listen=[f"unix:{path}"])
        self.assertTrue(stat.S_ISSOCK(os.stat(path).st_mode))
        server.stop()
        self.assertFalse(os.path.exists(path))

    def test_several_addresses(self):
        path = f"{self.folder()}/socket"
        server = self.hello("--threads", 2, listen=["127.0.0.1:0", "127.0.0.1:0", f"unix:{path}"])
        ports = [int(a.rsplit(":", 1)[1]) for a in server.addresses if not a.startswith("unix:")]
        self.assertEqual(len(set(ports)), 2)
        for port in ports:
            self.request(("127.0.0.1", port))
        self.request(path)

    def test_ipv6(self):
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError as error:
            self.skipTest(f"no IPv6 here: {error}")
        server = self.hello("--threads", 1, listen=["[::1]:0"])
        self.assertRegex(server.addresses[0], r"^\[::1\]:\d+$")
        self.request(("::1", server.port))

    def test_default_address(self):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", 8080))
            except OSError:
                self.skipTest("port 8080 is taken")
        self.hello("--threads", 0, listen=[])
        self.request(("127.0.0.1", 8080))


class Modes(E2ETest):
    threaded = True

    def exercise(self, *args):
        server = self.hello(*args)
        clients = [server.connect() for _ in range(20)]
        for _ in range(3):
            for client in clients:
                client.send(make_request("GET", "/hello") + make_request("GET", "/hash/x") +
                            make_request("POST", "/echo", body=b"x" * 50000) + make_request("GET", "/sleep/10"))
            for client in clients:
                for _ in range(4):
                    self.assertEqual(client.read_response().status, 200)
        for client in clients:
            client.close()
        return server

    def test_backends(self):
        for backend in ("epoll", "poll", "select"):
            for threads in (0, 2):
                with self.subTest(backend, threads=threads):
                    self.exercise("--backend", backend, "--threads", threads).stop()

    def test_accept_modes(self):
        for accept in ("round-robin", "least-connections", "reuseport"):
            for threads in (0, 1, 3):
                with self.subTest(accept, threads=threads):
                    self.exercise("--accept", accept, "--threads", threads).stop()

    def test_pinned(self):
        server = self.exercise("--pin", "--threads", 2)
        cpus = os.sched_getaffinity(0)
        pinned = [t for t in server.thread_ids() if len(os.sched_getaffinity(t)) == 1]
        if len(cpus) > 1:
            self.assertGreaterEqual(len(pinned), 2)

    def test_not_pinned(self):
        server = self.exercise("--threads", 2)
        for tid in server.thread_ids():
            self.assertEqual(os.sched_getaffinity(tid), os.sched_getaffinity(0))

    def threads_named(self, server):
        names = []
        for tid in server.thread_ids():
            with open(f"/proc/{server.pid}/task/{tid}/comm") as file:
                names.append(file.read().strip())
        return names

    def test_thread_counts(self):
        base = len(self.threads_named(self.hello("--threads", 0, "--workers", 1)))
        for threads in (1, 4):
            self.assertEqual(len(self.threads_named(self.hello("--threads", threads, "--workers", 1))), base + threads)
        self.assertEqual(len(self.threads_named(self.hello("--threads", 0, "--workers", 6))), base + 5)

    def test_round_robin_spreads(self):
        """Four loops, each busy with its own connections: all of them work."""
        server = self.hello("--threads", 4, "--accept", "round-robin")
        clients = [server.connect() for _ in range(8)]
        for _ in range(300):
            for client in clients:
                client.send(make_request("GET", "/hello"))
            for client in clients:
                client.read_response()
        switched = {}
        for tid in server.thread_ids():
            with open(f"/proc/{server.pid}/task/{tid}/status") as file:
                switched[tid] = int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
        self.assertGreaterEqual(len([n for n in switched.values() if n > 50]), 4, switched)
