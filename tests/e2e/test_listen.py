"""Where programs listen: the modes of Unix sockets, sockets that they are started with, and the limit by address."""
import os
import re
import socket
import subprocess

from support import PATIENCE, E2ETest, Server, program, server_environment, wait_until


def run(name, *args, **options):
    """Runs a program that is to end by itself."""
    return subprocess.run([program(name), *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE, env=server_environment(), check=False, **options)


class EchoTest(E2ETest):
    threaded = True

    def echo(self, *args, **options):
        return self.start("rill-echo", *args, **options)

    def connect(self, server, source="127.0.0.1"):
        connection = socket.create_connection(("127.0.0.1", server.port), PATIENCE, (source, 0))
        self.addCleanup(connection.close)
        return connection

    def answers(self, connection):
        """Whether it is served; otherwise it was closed."""
        try:
            connection.sendall(b"hello")
            return connection.recv(5, socket.MSG_WAITALL) == b"hello"
        except (ConnectionResetError, BrokenPipeError):
            return False


class Addresses(EchoTest):
    def test_what_is_no_address(self):
        for address in ("unix:/tmp/x,mode=", "unix:/tmp/x,mode=9", "unix:/tmp/x,mode=0", "unix:/tmp/x,mode=1777",
                        "unix:,mode=600", "fd:", "fd:-1", "fd:x", "fd:99999999999"):
            with self.subTest(address):
                result = run("rill-echo", "--listen", address)
                self.assertEqual(result.returncode, 2, result)
                self.assertRegex(result.stderr, rf'\Arill-echo: --listen: "{re.escape(address)}" is not right: [^\n]+\n\Z')

    def test_help_tells_of_them(self):
        for name in ("rill-echo", "rill-hello"):
            text = run(name, "--help").stdout
            self.assertIn("unix:/PATH[,mode=660] or fd:N", text)
            self.assertRegex(text, r"--max-per-address N\s+\S")

    def test_modes(self):
        path = self.folder() + "/socket"
        for mode in (0o600, 0o660, 0o666, 0o777):
            with self.subTest(oct(mode)):
                server = self.echo("--threads", 1, listen=[f"unix:{path},mode={mode:o}"])
                self.assertEqual(server.addresses, [f"unix:{path}"])
                self.assertEqual(os.stat(path).st_mode & 0o777, mode)
                server.stop()
                self.assertFalse(os.path.exists(path))

    def test_too_many(self):
        result = run("rill-echo", *["--listen", "127.0.0.1:0"] * 32)
        self.assertEqual(result.returncode, 2)
        self.assertIn("at most 31 addresses", result.stderr)


class Inherited(EchoTest):
    def test_tcp(self):
        for threads in (0, 2):
            for accept in ("round-robin", "reuseport"):
                with self.subTest(threads=threads, accept=accept), socket.create_server(("127.0.0.1", 0)) as listening:
                    port = listening.getsockname()[1]
                    server = self.echo("--threads", threads, "--accept", accept, listen=[f"fd:{listening.fileno()}"],
                                       pass_fds=[listening.fileno()])
                    self.assertEqual(server.port, port)
                    for unused in range(10):
                        self.assertTrue(self.answers(self.connect(server)))
                    server.stop()

    def test_unix_socket(self):
        path = self.folder() + "/socket"
        with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as client:
            listening.bind(path)
            listening.listen()
            server = self.echo(listen=[f"fd:{listening.fileno()}", "127.0.0.1:0"], pass_fds=[listening.fileno()])
            self.assertEqual(server.addresses[0], f"unix:{path}")
            client.connect(path)
            self.assertTrue(self.answers(client))
            self.assertTrue(self.answers(self.connect(server)))
            server.stop()
        self.assertTrue(os.path.exists(path))  # it is whoever's who made it

    def test_a_restart_turns_nobody_away(self):
        """The socket stays open between two servers, so that who comes meanwhile waits."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            options = {"listen": [f"fd:{listening.fileno()}"], "pass_fds": [listening.fileno()]}
            first = self.echo("--threads", 1, **options)
            self.assertTrue(self.answers(self.connect(first)))
            first.stop()
            waiting = self.connect(first)
            self.echo("--threads", 1, **options)
            self.assertTrue(self.answers(waiting))

    def test_http(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            server = self.hello("--threads", 1, listen=[f"fd:{listening.fileno()}"], pass_fds=[listening.fileno()])
            self.assertEqual(server.get("/hello").body, b"Hello, World!")

    def refused(self, fd, says, *more, **options):
        result = run("rill-echo", "--listen", f"fd:{fd}", *more, **options)
        self.assertEqual(result.returncode, 1, result)
        self.assertIn(f"cannot listen on descriptor {fd}: ", result.stderr)
        self.assertIn(says, result.stderr)

    def test_what_cannot_be_listened_on(self):
        with socket.socket() as idle, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, \
                open("/dev/null", "rb") as file, socket.create_server(("127.0.0.1", 0)) as listening:
            idle.bind(("127.0.0.1", 0))
            fds = [s.fileno() for s in (idle, datagrams, file, listening)]
            self.refused(fds[0], "it has to be a stream socket that listens already", pass_fds=fds)
            self.refused(fds[1], "it has to be a stream socket that listens already", pass_fds=fds)
            self.refused(fds[2], "it has to be a stream socket that listens already", pass_fds=fds)
            self.refused(77, "it has to be a stream socket that listens already")
            self.refused(fds[3], "it is listened on already", "--listen", f"fd:{fds[3]}", pass_fds=fds)


class MaxPerAddress(EchoTest):
    def test_usage(self):
        for value in ("0", "x", "-1", ""):
            result = run("rill-echo", "--max-per-address", value)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn("--max-per-address", result.stderr)

    def test_limit(self):
        for threads, accept in ((0, "round-robin"), (2, "round-robin"), (2, "reuseport")):
            with self.subTest(threads=threads, accept=accept):
                path = self.folder() + "/socket"
                server = self.echo("--threads", threads, "--accept", accept, "--max-per-address", 3,
                                   listen=["127.0.0.1:0", f"unix:{path}"])
                served = [self.connect(server) for unused in range(3)]
                self.assertTrue(all(self.answers(connection) for connection in served))
                for unused in range(5):
                    self.assertFalse(self.answers(self.connect(server)))
                others = [self.connect(server, "127.0.0.2") for unused in range(3)]
                self.assertTrue(all(self.answers(connection) for connection in others))
                self.assertFalse(self.answers(self.connect(server, "127.0.0.2")))
                for unused in range(5):  # a Unix socket's peers have no address
                    client = socket.socket(socket.AF_UNIX)
                    self.addCleanup(client.close)
                    client.connect(path)
                    self.assertTrue(self.answers(client))
                self.assertTrue(all(self.answers(connection) for connection in served))
                served.pop().close()
                wait_until(lambda: self.answers(self.connect(server)), "room when one has gone")
                self.assertEqual(len(re.findall(r"127\.0\.0\.1 has its 3 connections", server.stderr())), 1)
                server.stop()

    def test_http(self):
        server = self.hello("--threads", 1, "--max-per-address", 1)
        with server.connect() as client:
            self.assertEqual(client.request("GET", "/hello").status, 200)
            with server.connect() as another:
                self.assertTrue(another.is_closed())
            self.assertEqual(client.request("GET", "/hello").status, 200)


class Restart(EchoTest):
    """Two servers with the same Unix socket, one after the other, as a restart has them."""

    def test_the_second_waits_for_the_first_to_stop(self):
        path = self.folder() + "/socket"
        first = self.echo("--threads", 1, listen=[f"unix:{path}"])
        result = run("rill-echo", "--listen", f"unix:{path}")
        self.assertEqual(result.returncode, 1)
        self.assertIn("another program listens there", result.stderr)
        first.stop()
        second = Server("rill-echo", "--threads", 1, listen=[f"unix:{path},mode=600"])
        self.addCleanup(second.stop)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
