"""What all end-to-end tests share: starting and stopping the real programs, and a strict raw HTTP client.

A server is started on port 0 and says on standard error where it listens. When a test ends it is sent SIGTERM, must
exit with 0, and must have no sanitizer report on standard error.
"""
import fcntl
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import termios
import threading
import time
import unittest

BIN = os.environ.get("RILL_E2E_BIN", "")
THREADED = os.environ.get("RILL_E2E_THREADED") == "1"

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def program(name):
    return os.path.join(BIN, name)


def sanitizer():
    """'address', 'thread' or None: what the programs were built with."""
    if not hasattr(sanitizer, "found"):
        with open(program("rill-hello"), "rb") as file:
            code = file.read()
        sanitizer.found = "thread" if b"__tsan_init" in code else "address" if b"__asan_init" in code else None
    return sanitizer.found


# No test waits longer than this for something that should come at once. Sanitizers and busy machines are slow.
PATIENCE = 20.0


def wait_until(condition, what, seconds=PATIENCE):
    """Polls CONDITION; its first true value is returned."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(0.01)


def connections_of(port):
    """Of the open connections that came in at this port of 127.0.0.1: the client's port, whether the server has accepted
    it, and how many bytes the server has not read."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        next(file)
        for fields in map(str.split, file):
            if fields[1] == f"0100007F:{port:04X}" and fields[3] == "01":
                yield int(fields[2][-4:], 16), fields[9] != "0", int(fields[4][-8:], 16)


def server_environment():
    env = dict(os.environ)
    env["ASAN_OPTIONS"] = "detect_leaks=1:abort_on_error=0:exitcode=99"
    env["UBSAN_OPTIONS"] = "print_stacktrace=1:halt_on_error=1:exitcode=99"
    env["TSAN_OPTIONS"] = "exitcode=99:" + env.get("TSAN_OPTIONS", "")
    return env


class Server:
    """One running program. PORT is its first TCP port, ADDRESSES all that it listens on."""

    def __init__(self, name, *args, nofile=None, stdout=None, listen=("127.0.0.1:0",), error_log=None,
                 pass_fds=()):
        self.name = name
        self.stopped = False
        self.listen = list(listen)
        self.errors = tempfile.TemporaryFile()
        # The program and stderr() share one offset: what the program writes has to go to the end whatever was read.
        fcntl.fcntl(self.errors, fcntl.F_SETFL, fcntl.fcntl(self.errors, fcntl.F_GETFL) | os.O_APPEND)
        self.error_log = error_log
        command = [program(name)]
        for address in self.listen:
            command += ["--listen", address]
        if error_log:
            command += ["--error-log", error_log]
        command += [str(arg) for arg in args]
        self.command = " ".join(command)

        def limits():
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))

        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL,
                                        stderr=self.errors, env=server_environment(), preexec_fn=limits,
                                        pass_fds=pass_fds)
        try:
            self.addresses = wait_until(self._listening, f"{self.command} to listen")
        except AssertionError as error:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{error}\n{self.stderr()}") from None
        ports = [int(a.rsplit(":", 1)[1]) for a in self.addresses if not a.startswith("unix:")]
        self.port = ports[0] if ports else None

    def _listening(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.command} exited with {self.process.returncode}")
        found = re.findall(r"^\S+ info main: .*listening on (\S+)", self.stderr(), re.M)
        return found if len(found) >= len(self.listen) else None

    def await_log(self, pattern):
        """The match of PATTERN in what the program has said, as soon as it has."""
        return wait_until(lambda: re.search(pattern, self.stderr()), f"{self.command} to say {pattern}")

    def stderr(self):
        text = os.pread(self.errors.fileno(), os.fstat(self.errors.fileno()).st_size, 0)
        if self.error_log and os.path.exists(self.error_log):
            with open(self.error_log, "rb") as file:
                text += file.read()
        return text.decode("utf-8", "replace")

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        self.process.send_signal(number)

    def rss_bytes(self):
        with open(f"/proc/{self.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) * 1024

    def cpu_seconds(self):
        with open(f"/proc/{self.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def thread_ids(self):
        return [int(t) for t in os.listdir(f"/proc/{self.pid}/task")]

    def connections(self):
        """How many clients it has accepted that are still connected."""
        return sum(taken for unused_port, taken, unused in connections_of(self.port))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def wait_exit(self, seconds=PATIENCE):
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            state = self.stacks()
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.command} did not exit within {seconds} s\n{state}\n{self.stderr()[-3000:]}") \
                from None
        return self.process.returncode

    def stacks(self):
        lines = []
        for tid in self.thread_ids():
            try:
                base = f"/proc/{self.pid}/task/{tid}/"
                lines.append(f"thread {open(base + 'comm').read().strip()}: {open(base + 'wchan').read()}")
            except OSError:
                pass
        return "\n".join(lines)

    def check_exit(self, expected=0):
        text = self.stderr()
        report = re.search(r"(ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:)", text)
        if report:
            raise AssertionError(f"{self.command}: sanitizer report\n{text[report.start() - 200 if report.start() > 200 else 0:][:6000]}")
        if expected is not None and self.process.returncode != expected:
            raise AssertionError(f"{self.command} exited with {self.process.returncode}, not {expected}\n{text[-3000:]}")

    def stop(self):
        """Ends the server in the orderly way and checks that it was one. Harmless when it has ended already."""
        if self.stopped:
            return
        self.stopped = True
        try:
            if self.process.poll() is None:
                self.signal(signal.SIGTERM)
                self.wait_exit()
            self.check_exit()
        finally:
            self.errors.close()

    def connect(self, **options):
        return Client(("127.0.0.1", self.port), **options)

    def get(self, target, headers=(), method="GET"):
        """One request on a connection of its own."""
        with self.connect() as client:
            return client.request(method, target, headers=list(headers) + ["Connection: close"])


class Response:
    def __init__(self, version, status, reason, headers, body, raw_head, complete, trailers=()):
        self.version, self.status, self.reason = version, status, reason
        self.headers, self.body, self.raw_head = headers, body, raw_head
        self.complete, self.trailers = complete, trailers

    def header(self, name):
        """The value of the one field of this name, or None. Two of one name are an error."""
        values = [v for n, v in self.headers if n.lower() == name.lower()]
        if len(values) > 1:
            raise AssertionError(f"{name} comes {len(values)} times: {self.raw_head!r}")
        return values[0] if values else None

    def has_option(self, option):
        return option in [o.strip().lower() for o in (self.header("Connection") or "").split(",")]

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:80]!r} complete={self.complete}>"


class Closed(Exception):
    """The server closed the connection where a response should have begun."""


class Client:
    """A connection that is read as strictly as RFC 9112 allows."""

    def __init__(self, address, family=None, receive_buffer=None, timeout=PATIENCE):
        if family is None:
            family = socket.AF_UNIX if isinstance(address, str) else \
                socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def send_pieces(self, data, cuts, pause=0.003):
        """Sends DATA cut at the offsets CUTS, so that the server most likely reads the pieces one by one. Returns
        early when the server has closed."""
        edges = [0] + sorted(cuts) + [len(data)]
        for begin, end in zip(edges, edges[1:]):
            if begin == end:
                continue
            try:
                self.socket.sendall(data[begin:end])
            except (BrokenPipeError, ConnectionResetError):
                return
            time.sleep(pause)

    def shut(self):
        self.socket.shutdown(socket.SHUT_WR)

    def wait_until_read(self):
        """Until the server, on 127.0.0.1, has taken all that was sent from the kernel: it acts on that before it can see
        anything that happens later."""
        wait_until_read([self])

    def fill(self):
        """Receives some bytes; False at the end of the connection."""
        try:
            data = self.socket.recv(262144)
        except ConnectionResetError:
            return False
        except socket.timeout:
            raise AssertionError(f"no byte came for {self.socket.gettimeout()} s; so far {bytes(self.buffer[:200])!r}") \
                from None
        self.buffer += data
        return bool(data)

    def take(self, length):
        data = bytes(self.buffer[:length])
        del self.buffer[:length]
        return data

    def read_line(self):
        """A line that must end with CRLF, without it; None when the connection ends before."""
        while True:
            end = self.buffer.find(b"\n")
            if end >= 0:
                line = self.take(end + 1)
                if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                    raise AssertionError(f"bad line {line!r}")
                return line[:-2]
            if not self.fill():
                return None

    def read_head(self):
        """Status line and fields; raises Closed when nothing comes."""
        raw = bytearray()
        line = self.read_line()
        if line is None:
            if self.buffer:
                raise AssertionError(f"half a status line: {bytes(self.buffer)!r}")
            raise Closed()
        raw += line + b"\r\n"
        match = re.fullmatch(rb"HTTP/1\.([01]) (\d{3}) ([\x20-\x7e]*)", line)
        if not match:
            raise AssertionError(f"bad status line {line!r}")
        headers = self.read_fields(raw)
        return match.group(1), int(match.group(2)), match.group(3).decode(), headers, bytes(raw)

    def read_fields(self, raw):
        headers = []
        while True:
            line = self.read_line()
            if line is None:
                raise AssertionError(f"the connection ended in a head: {bytes(raw)!r}")
            raw += line + b"\r\n"
            if not line:
                return headers
            match = re.fullmatch(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x20-\x7e\t\x80-\xff]*?)[ \t]*", line)
            if not match:
                raise AssertionError(f"bad field line {line!r}")
            headers.append((match.group(1).decode(), match.group(2).decode("latin-1")))

    def read_bytes(self, length):
        """At most LENGTH bytes: fewer only when the connection ends."""
        while len(self.buffer) < length and self.fill():
            pass
        return self.take(length)

    def read_chunked(self):
        """Returns (body, complete, trailers)."""
        body = bytearray()
        while True:
            line = self.read_line()
            if line is None:
                return bytes(body), False, []
            if not re.fullmatch(rb"[0-9A-Fa-f]+", line):
                raise AssertionError(f"bad chunk size {line!r}")
            size = int(line, 16)
            if size == 0:
                return bytes(body), True, self.read_fields(bytearray())
            data = self.read_bytes(size + 2)
            if len(data) < size + 2:
                return bytes(body) + data[:size], False, []
            if data[-2:] != b"\r\n":
                raise AssertionError("a chunk does not end with CRLF")
            body += data[:-2]

    def read_response(self, method="GET", interim=False):
        """The next final response (the next of any kind with INTERIM), checked for what every response must have."""
        while True:
            version, status, reason, headers, raw = self.read_head()
            response = Response(version, status, reason, headers, b"", raw, True)
            if status >= 200 or interim:
                break
        if status < 200:
            return response
        length, coding = response.header("Content-Length"), response.header("Transfer-Encoding")
        if response.header("Date") is None:
            raise AssertionError(f"no Date: {raw!r}")
        if length is not None and coding is not None:
            raise AssertionError(f"both Content-Length and Transfer-Encoding: {raw!r}")
        if status == 204 and (length is not None or coding is not None):
            raise AssertionError(f"204 with a framing field: {raw!r}")
        if method == "HEAD" or status in (204, 304):
            return response
        if coding is not None:
            if coding.lower() != "chunked":
                raise AssertionError(f"unknown coding: {raw!r}")
            response.body, response.complete, response.trailers = self.read_chunked()
        elif length is not None:
            response.body = self.read_bytes(int(length))
            response.complete = len(response.body) == int(length)
        else:
            while self.fill():
                pass
            response.body = self.take(len(self.buffer))
        return response

    def request(self, method, target, headers=(), body=b"", version="1.1", host="test"):
        self.send(make_request(method, target, headers, body, version, host))
        return self.read_response(method)

    def is_closed(self):
        """Whether the server has sent nothing more and closed. Waits for one of both."""
        if self.buffer:
            return False
        return not self.fill()


def wait_until_read(clients):
    """As Client.wait_until_read(), of several clients of one server."""
    server = clients[0].socket.getpeername()[1]
    ports = {client.socket.getsockname()[1] for client in clients}

    def are_read():
        if any(struct.unpack("i", fcntl.ioctl(c.socket, termios.TIOCOUTQ, b"\0" * 4))[0] for c in clients):
            return False  # something is not with the other side's socket yet
        return all(taken and unread == 0 for port, taken, unread in connections_of(server) if port in ports)

    wait_until(are_read, "the server to read")


def make_request(method, target, headers=(), body=b"", version="1.1", host="test"):
    lines = [f"{method} {target} HTTP/{version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    lines += headers
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(body, sizes, trailers=""):
    """BODY in chunks of these sizes, the last size for all the rest."""
    out = bytearray()
    at, i = 0, 0
    while at < len(body):
        piece = body[at:at + sizes[min(i, len(sizes) - 1)]]
        out += f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        at += len(piece)
        i += 1
    return bytes(out) + b"0\r\n" + trailers.encode() + b"\r\n"


class E2ETest(unittest.TestCase):
    """THREADED: part of the run under ThreadSanitizer. SERIAL: measures, so nothing may run beside it."""
    threaded = False
    serial = False

    def start(self, name, *args, **options):
        server = Server(name, *args, **options)
        self.addCleanup(server.stop)
        return server

    def hello(self, *args, **options):
        return self.start("rill-hello", *args, **options)

    def httpd(self, root, *args, **options):
        return self.start("rill-httpd", *args, root, **options)

    def folder(self, where=None):
        path = tempfile.mkdtemp(prefix="rill-e2e-", dir=where)
        self.addCleanup(shutil.rmtree, path, True)
        return path

    def in_background(self, function, *args):
        """Runs FUNCTION in a thread; what it raises is raised by the returned join()."""
        failures = []

        def run():
            try:
                function(*args)
            except BaseException as error:  # handed over to the test's own thread
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def join(seconds=60):
            thread.join(seconds)
            if failures:
                raise failures[0]
            self.assertFalse(thread.is_alive(), f"{function.__name__} still runs after {seconds} s")

        return join


class SharedServerTest(E2ETest):
    """One server for all tests of the class; subclasses define make_server(cls)."""

    @classmethod
    def setUpClass(cls):
        cls.class_folder = tempfile.mkdtemp(prefix="rill-e2e-")
        try:
            cls.server = cls.make_server()
        except BaseException:
            shutil.rmtree(cls.class_folder, True)
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.server.stop()
        finally:
            shutil.rmtree(cls.class_folder, True)

    def tearDown(self):
        self.assertIsNone(self.server.process.poll(), "the server is gone: " + self.server.stderr()[-3000:]
                          if self.server.process.poll() is not None else "")


def write_file(path, content, mtime=None):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    if mtime is not None:
        os.utime(path, (mtime, mtime))


def have(tool):
    return shutil.which(tool) is not None
