"""The servers that are compared, each set up as its own documentation says is fast: no access log, one worker, no
limit on requests a connection. Everything they need is written below a scratch directory."""
import os
import random
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import proc

HELLO = b"Hello, World!"
FILES = {"1k": ("1k.txt", 1024), "100k": ("100k.bin", 100 * 1024), "1m": ("1m.bin", 1024 * 1024)}
MAX_DESCRIPTORS = 20000
LONG_S = 3600  # no connection may time out while it is measured


class ServerError(Exception):
    """A server that did not start, or does not answer what it should."""


@dataclass(frozen=True)
class Contender:
    name: str
    path: str
    body: bytes  # what a GET of path must bring
    argv: Callable[[int, Path], list]  # port, scratch directory -> command line
    max_connections: int = MAX_DESCRIPTORS - 500


def make_site(root):
    """The files that all of them serve; returns their bytes by name."""
    root.mkdir(parents=True, exist_ok=True)
    generator = random.Random(1)
    contents = {"hello": HELLO}
    (root / "hello.txt").write_bytes(HELLO)
    for key, (name, size) in FILES.items():
        contents[key] = generator.randbytes(size)
        (root / name).write_bytes(contents[key])
    return contents


def rill_hello(bin_dir, name="rill", threads=1, options=()):
    def argv(port, _scratch):
        return [str(bin_dir / "rill-hello"), "--listen", f"127.0.0.1:{port}", "--threads", str(threads), *options]

    return Contender(name, "/", HELLO, argv)


def rill_httpd(bin_dir, root, file_name, body, name="rill", options=()):
    def argv(port, _scratch):
        return [str(bin_dir / "rill-httpd"), "--listen", f"127.0.0.1:{port}", "--threads", "1",
                "--access-log", "off", *options, str(root)]  # fmt: skip

    return Contender(name, "/" + file_name, body, argv)


def floor(binary, body_bytes):
    return Contender("floor", "/", b"x" * body_bytes, lambda port, _: [str(binary), str(port), str(body_bytes)])


NGINX_CONFIG = """\
{user}
daemon off;
worker_processes {workers};
worker_rlimit_nofile {max_descriptors};
pid {scratch}/nginx.pid;
error_log {scratch}/error.log crit;
events {{
    use epoll;
    worker_connections {max_descriptors};
    multi_accept {multi_accept};
}}
http {{
    access_log off;
    types {{ text/plain txt; }}
    default_type application/octet-stream;
    keepalive_requests 2147483647;
    keepalive_timeout {long_s}s;
    client_header_timeout {long_s}s;
    sendfile {sendfile};
    tcp_nopush {tcp_nopush};
    tcp_nodelay on;
    open_file_cache max=1000 inactive=60s;
    open_file_cache_valid 60s;
    client_body_temp_path {scratch}/body;
    proxy_temp_path {scratch}/proxy;
    fastcgi_temp_path {scratch}/fastcgi;
    uwsgi_temp_path {scratch}/uwsgi;
    scgi_temp_path {scratch}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096{reuseport}{deferred};
        root {root};
        location = / {{
            default_type text/plain;
            return 200 "Hello, World!";
        }}
    }}
}}
"""


def nginx(root, path, body, name="nginx", workers=1, **settings):
    """SETTINGS: sendfile, tcp_nopush, multi_accept (on or off), reuseport and deferred."""
    values = {"sendfile": "on", "tcp_nopush": "off", "multi_accept": "off", "reuseport": "off",
              "deferred": "off"} | settings  # fmt: skip
    for word in ("reuseport", "deferred"):
        values[word] = f" {word}" if values[word] == "on" else ""

    def argv(port, scratch):
        config = scratch / "nginx.conf"
        config.write_text(NGINX_CONFIG.format(
            user="user root;" if os.geteuid() == 0 else "", workers=workers, max_descriptors=MAX_DESCRIPTORS,
            scratch=scratch, long_s=LONG_S, port=port, root=root, **values))  # fmt: skip
        return ["nginx", "-p", str(scratch), "-e", str(scratch / "error.log"), "-c", str(config)]

    return Contender(name, path, body, argv)


H2O_CONFIG = """\
{user}
num-threads: 1
max-connections: {max_descriptors}
listen:
  host: 127.0.0.1
  port: {port}
http1-request-timeout: {long_s}
http1-upgrade-to-http2: OFF
error-log: {scratch}/error.log
file.mime.addtypes:
  text/plain: .txt
hosts:
  default:
    paths:
      /:
        file.dir: {root}
        file.send-compressed: OFF
"""


def h2o(root, file_name, body, name="h2o"):
    def argv(port, scratch):
        config = scratch / "h2o.conf"
        config.write_text(H2O_CONFIG.format(user="user: root" if os.geteuid() == 0 else "", port=port, root=root,
            scratch=scratch, long_s=LONG_S, max_descriptors=MAX_DESCRIPTORS))  # fmt: skip
        return ["h2o", "-m", "worker", "-c", str(config)]

    return Contender(name, "/" + file_name, body, argv)


LIGHTTPD_CONFIG = """\
server.document-root = "{root}"
server.bind = "127.0.0.1"
server.port = {port}
server.errorlog = "{scratch}/error.log"
server.modules = ()
server.max-worker = 0
server.event-handler = "linux-sysepoll"
server.network-backend = "sendfile"
server.listen-backlog = 4096
server.max-fds = {max_descriptors}
server.max-connections = {max_connections}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = {long_s}
server.max-read-idle = {long_s}
mimetype.assign = ( ".txt" => "text/plain", ".bin" => "application/octet-stream" )
"""


def lighttpd(root, file_name, body, name="lighttpd"):
    def argv(port, scratch):
        config = scratch / "lighttpd.conf"
        config.write_text(LIGHTTPD_CONFIG.format(port=port, root=root, scratch=scratch, long_s=LONG_S,
            max_descriptors=MAX_DESCRIPTORS, max_connections=MAX_DESCRIPTORS // 2))  # fmt: skip
        return ["lighttpd", "-D", "-f", str(config)]

    # It keeps half of its descriptors for the files.
    return Contender(name, "/" + file_name, body, argv, MAX_DESCRIPTORS // 2 - 200)


class Running:
    """A server that runs for the length of a `with`: started on a port of its own and seen to answer right."""

    _next_port = 20000 + os.getpid() % 5000

    def __init__(self, contender, scratch_root, cpus=None, wrapper=(), start_s=10.0, header=None):
        self.contender, self.scratch_root, self.cpus = contender, scratch_root, cpus
        self.wrapper, self.start_s, self.header = list(wrapper), start_s, header
        self.port, self.process = None, None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}{self.contender.path}"

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        self.port = self._free_port()
        self.scratch = self.scratch_root / f"{self.contender.name.replace(' ', '-')}-{self.port}"
        self.scratch.mkdir(parents=True)
        self.log = self.scratch / "output.log"
        argv = self.wrapper + self.contender.argv(self.port, self.scratch)
        try:
            with open(self.log, "wb") as log:
                self.process = proc.start(argv, self.cpus, stdout=log, stderr=log)
            self._wait_until_listening()
            self.check()
        except FileNotFoundError as error:
            raise ServerError(f"{self.contender.name}: {error.filename} is not there") from None
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            proc.stop(self.process)

    def check(self):
        """One GET by curl: the status is 200 and the body is the one expected."""
        got = self.scratch / "curl.body"
        header = ["-H", self.header] if self.header else []
        done = subprocess.run(["curl", "-sS", "--max-time", str(self.start_s), "-o", str(got), "-w", "%{http_code}",
                               *header, self.url], capture_output=True, text=True, check=False)  # fmt: skip
        if done.returncode != 0:
            raise ServerError(f"{self.contender.name}: {done.stderr.strip()}{self._last_words()}")
        body = got.read_bytes() if got.exists() else b""
        if done.stdout.strip() != "200" or body != self.contender.body:
            raise ServerError(f"{self.contender.name}: wanted 200 and {len(self.contender.body)} bytes from "
                              f"{self.contender.path}, got {done.stdout.strip()} and {len(body)}")  # fmt: skip

    def _wait_until_listening(self):
        end = time.monotonic() + self.start_s
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise ServerError(f"{self.contender.name}: exited {self.process.returncode}{self._last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.5).close()
                return
            except OSError:
                time.sleep(0.02)
        raise ServerError(f"{self.contender.name}: not listening after {self.start_s:.0f} s{self._last_words()}")

    def _last_words(self):
        for log in (self.log, self.scratch / "error.log"):
            lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            if lines:
                return ": " + lines[-1]
        return ""

    @classmethod
    def _free_port(cls):
        """Never one that was just used: what is left of its connections would be the next server's trouble."""
        for _ in range(9000):
            cls._next_port = 20000 + (cls._next_port + 1 - 20000) % 9000
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", cls._next_port))
                    return cls._next_port
                except OSError:
                    continue
        raise ServerError("no free port between 20000 and 29000")
