"""rill-cache with clients of its own and with memcached's: what it keeps, what it gives up, and what it says."""
import os
import random
import re
import signal
import socket
import subprocess
import time
import unittest

from support import PATIENCE, E2ETest, have, program, sanitizer, wait_until

MB = 1 << 20


class CacheClient:
    """Speaks the text protocol, and takes no liberties with what it hears."""

    def __init__(self, test, server, receive_buffer=None, address=None):
        self.socket = socket.socket(socket.AF_UNIX if address else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(address or ("127.0.0.1", server.port))
        self.file = self.socket.makefile("rb")
        test.addCleanup(self.close)

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise AssertionError(f"the connection ended with {line!r}")
        return line[:-2].decode("latin-1")

    def ask(self, line):
        self.send(line.encode("latin-1") + b"\r\n")
        return self.line()

    def store(self, verb, key, value, flags=0, exptime=0, cas=None):
        end = "" if cas is None else f" {cas}"
        self.send(f"{verb} {key} {flags} {exptime} {len(value)}{end}\r\n".encode("latin-1") + value + b"\r\n")
        return self.line()

    def set(self, key, value, **options):
        reply = self.store("set", key, value, **options)
        if reply != "STORED":
            raise AssertionError(f"set {key} was answered with {reply}")

    def values(self):
        """What comes until END: {key: (value, flags, cas)}."""
        found = {}
        while (line := self.line()) != "END":
            match = re.fullmatch(r"VALUE (\S+) (\d+) (\d+)(?: (\d+))?", line)
            if not match:
                raise AssertionError(f"{line!r} came where a value should have come")
            data = self.file.read(int(match.group(3)) + 2)
            if data[-2:] != b"\r\n" or len(data) != int(match.group(3)) + 2:
                raise AssertionError(f"the value of {match.group(1)} does not end where it should")
            found[match.group(1)] = (data[:-2], int(match.group(2)), match.group(4) and int(match.group(4)))
        return found

    def gets(self, *keys):
        self.send(("gets " + " ".join(keys) + "\r\n").encode("latin-1"))
        return self.values()

    def get(self, key):
        self.send(f"get {key}\r\n".encode("latin-1"))
        return self.values().get(key, (None,))[0]

    def stats(self, which=""):
        self.send(f"stats {which}\r\n".encode())
        found = {}
        while (line := self.line()) != "END":
            word, name, value = line.split(" ", 2)
            if word != "STAT" or name in found:
                raise AssertionError(line)
            found[name] = int(value) if value.isdigit() else value
        return found


class CacheTest(E2ETest):
    def cache(self, *args, **options):
        return self.start("rill-cache", *args, **options)

    def client(self, server, **options):
        return CacheClient(self, server, **options)

    def test_values_of_every_size_come_back_as_they_went(self):
        server = self.cache("--threads", 2)
        client = self.client(server)
        generator = random.Random(1)
        sizes = [0, 1, 100, 4095, 4096, 4097, 16384, 65537, 300000, MB - 200]
        values = {f"key-{size}": generator.randbytes(size) for size in sizes}
        for key, value in values.items():
            client.set(key, value, flags=len(value))
        found = self.client(server).gets(*values, "none")
        self.assertEqual({key: v[0] for key, v in found.items()}, values)
        self.assertEqual([v[1] for v in found.values()], sizes)
        self.assertEqual(client.store("set", "key-1", b"x" * MB), "SERVER_ERROR object too large for cache")
        self.assertIsNone(client.get("key-1"))

    def test_a_value_may_come_in_pieces(self):
        client = self.client(self.cache("--threads", 1))
        value = random.Random(2).randbytes(200000)
        request = b"set k 0 0 200000\r\n" + value + b"\r\nget k\r\n"
        for at in range(0, len(request), 7001):
            client.send(request[at:at + 7001])
            time.sleep(0.001)
        self.assertEqual(client.line(), "STORED")
        self.assertEqual(client.values()["k"][0], value)

    def test_pipelined_requests_are_answered_in_order(self):
        client = self.client(self.cache("--threads", 1))
        client.send(b"".join(b"set k%d 0 0 4\r\n%04d\r\nget k%d\r\n" % (i, i, i) for i in range(5000)))
        for i in range(5000):
            self.assertEqual(client.line(), "STORED")
            self.assertEqual(client.values(), {f"k{i}": (b"%04d" % i, 0, None)})

    def test_items_end_in_time(self):
        client = self.client(self.cache("--threads", 1))
        client.set("soon", b"x", exptime=1)
        client.set("date", b"x", exptime=int(time.time()) + 2)
        client.set("late", b"x", exptime=100)
        client.set("past", b"x", exptime=int(time.time()) - 1)
        self.assertEqual(sorted(client.gets("soon", "date", "late", "past")), ["date", "late", "soon"])
        wait_until(lambda: client.get("soon") is None, "the item to end")
        wait_until(lambda: client.get("date") is None, "the item to end at its date")
        self.assertEqual(client.ask("flush_all 1"), "OK")
        wait_until(lambda: client.get("late") is None, "the flush")

    def test_over_a_unix_socket(self):
        path = os.path.join(self.folder(), "cache")
        server = self.cache("--threads", 1, listen=(f"unix:{path}",))
        client = self.client(server, address=path)
        client.set("k", b"v")
        self.assertEqual(client.get("k"), b"v")

    def test_a_stop_waits_for_a_value_that_is_coming(self):
        server = self.cache("--threads", 2)
        idle, busy = self.client(server), self.client(server)
        idle.set("a", b"1")
        self.assertEqual(idle.ask("verbosity 0"), "OK")  # nobody can silence what the server has to say
        before = idle.stats()["bytes"]
        busy.send(b"set k 0 0 10\r\n01234")
        wait_until(lambda: idle.stats()["bytes"] > before, "the half value")
        server.signal(signal.SIGTERM)
        self.assertEqual(idle.socket.recv(1), b"")
        busy.send(b"56789\r\nget k\r\n")
        self.assertEqual(busy.line(), "STORED")
        self.assertEqual(busy.socket.recv(100), b"")
        server.wait_exit()
        self.assertIn("stopped", server.stderr())

    def test_what_does_not_fit_together_is_said(self):
        for args, wanted in (("--memory", "1m"), "twice --max-item"), (("--max-item", "10"), "--max-item"):
            result = subprocess.run([program("rill-cache"), *args], capture_output=True, text=True, timeout=PATIENCE)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(wanted, result.stderr)


class MemoryTest(E2ETest):
    def start_cache(self, *args):
        server = self.start("rill-cache", *args)
        return server, CacheClient(self, server)

    def test_the_memory_limit_holds_and_what_is_used_stays(self):
        server, client = self.start_cache("--memory", "16m", "--threads", 2)
        value = b"v" * 20000
        client.set("favourite", value)
        for i in range(3000):
            client.set(f"k{i}", value)
            if i % 20 == 0:
                self.assertEqual(client.get("favourite"), value)
        stats = client.stats()
        self.assertLessEqual(stats["bytes"], 16 * MB)
        self.assertGreater(stats["bytes"], 14 * MB)
        self.assertEqual(stats["curr_items"] + stats["evictions"], 3001)
        self.assertIsNone(client.get("k0"))
        self.assertEqual(client.get("k2999"), value)
        if not sanitizer():
            self.assertLess(server.rss_bytes(), 40 * MB)

    def test_who_asks_for_much_and_reads_nothing_costs_little(self):
        server, client = self.start_cache("--threads", 1, "--write-timeout", "60s")
        value = b"v" * 500000
        client.set("k", value)
        before = server.rss_bytes()
        lazy = [CacheClient(self, server, receive_buffer=4096) for unused in range(10)]
        for one in lazy:
            one.send(b"get" + b" k" * 100 + b"\r\n")
        self.assertEqual(client.get("k"), value)  # the others are served all the same
        if not sanitizer():
            self.assertLess(server.rss_bytes() - before, 30 * MB)
        for unused in range(100):
            self.assertEqual(lazy[0].line(), "VALUE k 0 500000")
            self.assertEqual(lazy[0].file.read(500002), value + b"\r\n")
        self.assertEqual(lazy[0].line(), "END")


class SharedTest(E2ETest):
    """All loops serve all keys."""
    threaded = True

    def test_what_one_stores_all_see(self):
        server = self.start("rill-cache", "--threads", 3)
        clients = [CacheClient(self, server) for unused in range(6)]
        for i in range(200):
            clients[i % 6].set(f"key-{i}", b"%d" % i)
        for client in clients:
            found = client.gets(*(f"key-{i}" for i in range(200)))
            self.assertEqual([int(v[0]) for v in found.values()], list(range(200)))
        self.assertEqual(clients[0].ask("flush_all"), "OK")
        self.assertEqual(clients[1].gets(*(f"key-{i}" for i in range(200))), {})

    def test_no_change_is_lost(self):
        server = self.start("rill-cache", "--threads", 3)
        first = CacheClient(self, server)
        first.set("incr", b"0")
        first.set("cas", b"0")
        rounds = 60 if sanitizer() else 300

        def change():
            client = CacheClient(self, server)
            for i in range(rounds):
                client.ask("incr incr 1")
                while True:
                    value, unused, cas = client.gets("cas")["cas"]
                    reply = client.store("cas", "cas", b"%d" % (int(value) + 1), cas=cas)
                    if reply == "STORED":
                        break
                    self.assertEqual(reply, "EXISTS")
                client.store("append" if i else "add", "log", b"x")

        for join in [self.in_background(change) for unused in range(4)]:
            join()
        self.assertEqual(first.get("incr"), b"%d" % (4 * rounds))
        self.assertEqual(first.get("cas"), b"%d" % (4 * rounds))
        self.assertEqual(first.get("log"), b"x" * (4 * (rounds - 1) + 1))
        stats = first.stats()
        self.assertEqual(stats["cas_hits"], 4 * rounds)
        self.assertEqual(stats["incr_hits"], 4 * rounds)

    def test_values_are_whole_while_many_write_them(self):
        server = self.start("rill-cache", "--threads", 3, "--memory", "4m", "--max-item", "100k")
        rounds = 100 if sanitizer() else 500

        def churn(seed):
            client, generator = CacheClient(self, server), random.Random(seed)
            for unused in range(rounds):
                key, size = f"k{generator.randrange(40)}", generator.choice((10, 1000, 5000, 90000))
                if generator.randrange(3) == 0:
                    letter = bytes([97 + generator.randrange(26)])
                    client.set(key, letter * size)
                elif value := client.get(key):
                    self.assertEqual(value, value[:1] * len(value))
                if generator.randrange(50) == 0:
                    client.ask(f"delete {key}")

        for join in [self.in_background(churn, seed) for seed in range(5)]:
            join()


@unittest.skipUnless(have("memcstat"), "libmemcached-tools is not installed")
class MemcachedToolsTest(E2ETest):
    """The clients and the load generators that come with libmemcached."""

    def run_tool(self, server, name, *args, check=True):
        result = subprocess.run([name, f"--servers=127.0.0.1:{server.port}", *args], capture_output=True, timeout=60)
        if check and result.returncode != 0:
            raise AssertionError(f"{name} {args} exited with {result.returncode}: {result.stdout!r} {result.stderr!r}")
        return result

    def test_the_protocol_is_what_its_test_suite_wants(self):
        server = self.start("rill-cache", "--threads", 2, "--log-level", "info")
        result = subprocess.run(["memccapable", "-h", "127.0.0.1", "-p", str(server.port), "-a"], capture_output=True,
                                text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertEqual((result.stdout + result.stderr).count("[pass]"), 27)

    def test_files_are_copied_there_and_back(self):
        server = self.start("rill-cache", "--threads", 2)
        path = os.path.join(self.folder(), "file")
        content = random.Random(3).randbytes(400000)
        with open(path, "wb") as file:
            file.write(content)
        self.run_tool(server, "memccp", path)
        back = path + ".back"
        self.run_tool(server, "memccat", f"--file={back}", "file")
        with open(back, "rb") as file:
            self.assertEqual(file.read(), content)
        self.run_tool(server, "memcexist", "file")
        self.run_tool(server, "memctouch", "--expire=100", "file")
        self.run_tool(server, "memcping")
        stats = self.run_tool(server, "memcstat").stdout.decode()
        self.assertRegex(stats, r"curr_items: 1\n")
        self.assertRegex(stats, r"touch_hits: 1\n")
        self.run_tool(server, "memcrm", "file")
        self.assertNotEqual(self.run_tool(server, "memcexist", "file", check=False).returncode, 0)
        self.run_tool(server, "memccp", path)
        self.run_tool(server, "memcflush")
        self.assertNotEqual(self.run_tool(server, "memccat", "file", check=False).returncode, 0)

    def test_under_their_load(self):
        server = self.start("rill-cache", "--threads", 2)
        client = CacheClient(self, server)
        for test in ("set", "get", "mget"):
            self.run_tool(server, "memcslap", "--concurrency=4", "--execute-number=200", "--initial-load=200",
                          f"--test={test}")
        self.assertGreaterEqual(client.stats()["cmd_set"], 4 * 200)
        result = self.run_tool(server, "memcaslap", "-T", "2", "-c", "8", "-x", "3000", "-v", "0.5", "-d", "5")
        text = result.stdout.decode()
        self.assertNotIn("ERROR", text + result.stderr.decode())
        for counter in ("get_misses", "verify_misses", "verify_failed"):
            self.assertRegex(text, rf"{counter}: 0\n")
        self.assertGreater(client.stats()["get_hits"], 1000)
