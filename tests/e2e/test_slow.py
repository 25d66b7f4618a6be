"""Slow and hostile clients: they are closed on time, cost bounded memory, and leave others alone."""
import multiprocessing
import selectors
import socket
import statistics
import time

from support import PATIENCE, E2ETest, make_request, sanitizer, wait_until


def latencies(server, count):
    result = []
    with server.connect() as client:
        for _ in range(count):
            begin = time.perf_counter()
            response = client.request("GET", "/hello")
            assert response.status == 200
            result.append(time.perf_counter() - begin)
    return result


class Crowd:
    """Many connections that each send a byte a second of a head that never ends."""

    def __init__(self, server, count):
        self.selector = selectors.DefaultSelector()
        self.open = set()
        self.answers = {}
        self.opened = time.monotonic()
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setblocking(False)
            self.selector.register(sock, selectors.EVENT_READ)
            self.open.add(sock)
            self.answers[sock] = b""
        self.text = b"GET /hello HTTP/1.1\r\nHost: test\r\nX: " + b"x" * 1000
        self.sent = 0
        self.closed_at = []

    def send_byte(self):
        for sock in list(self.open):
            try:
                sock.send(self.text[self.sent:self.sent + 1])
            except OSError:
                pass
        self.sent += 1

    def look(self, seconds=0):
        for key, unused in self.selector.select(seconds):
            sock = key.fileobj
            try:
                data = sock.recv(65536)
            except ConnectionResetError:
                data = b""
            except BlockingIOError:
                continue
            self.answers[sock] += data
            if not data:
                self.selector.unregister(sock)
                sock.close()
                self.open.discard(sock)
                self.closed_at.append(time.monotonic() - self.opened)

    def close(self):
        for sock in self.open:
            sock.close()
        self.selector.close()


class Slow(E2ETest):
    serial = True
    threaded = True

    def test_a_thousand_slow_heads(self):
        count = 300 if sanitizer() == "thread" else 1000
        server = self.hello("--threads", 1, "--header-timeout", "3s", "--max-connections", 5000)
        before = latencies(server, 300)
        crowd = Crowd(server, count)
        self.addCleanup(crowd.close)
        during = []
        next_byte = time.monotonic()
        while crowd.open and time.monotonic() - crowd.opened < 60:
            if time.monotonic() >= next_byte:
                crowd.send_byte()
                next_byte += 1
            crowd.look(0.01)
            if crowd.open:
                during += latencies(server, 20)
        self.assertFalse(crowd.open, f"{len(crowd.open)} of {count} are still open after 60 s, sending a byte a second")
        answered = sum(a.startswith(b"HTTP/1.1 408 ") for a in crowd.answers.values())
        self.assertEqual(answered, count)
        self.assertGreater(min(crowd.closed_at), 1.9)
        calm, busy = statistics.median(before), statistics.median(during)
        print(f"     median latency: {calm * 1e6:.0f} us alone, {busy * 1e6:.0f} us beside {count} slow clients")
        self.assertEqual(server.get("/hello").status, 200)

    def test_idle_connections_are_closed_on_time(self):
        server = self.hello("--threads", 1, "--idle-timeout", "1s", "--header-timeout", "1s")
        crowd = Crowd(server, 300)
        self.addCleanup(crowd.close)
        while crowd.open and time.monotonic() - crowd.opened < 60:
            crowd.look(0.1)
        self.assertFalse(crowd.open)


class Fairness(E2ETest):
    serial = True

    def test_an_endless_pipeline_leaves_others_their_turn(self):
        server = self.hello("--threads", 1)
        calm = statistics.median(latencies(server, 200))
        flowing = multiprocessing.get_context("fork").Event()

        def flood():
            piece = make_request("GET", "/hello") * 2000
            with server.connect() as client:
                client.socket.setblocking(False)
                with selectors.DefaultSelector() as selector:
                    selector.register(client.socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
                    view = memoryview(piece)
                    while True:
                        for unused, events in selector.select():
                            if events & selectors.EVENT_READ:
                                client.socket.recv(1 << 20)
                                flowing.set()
                            if events & selectors.EVENT_WRITE:
                                try:
                                    view = view[client.socket.send(view):] or memoryview(piece)
                                except BlockingIOError:
                                    pass

        # A process of its own: a thread would take Python's lock from the one that measures.
        process = multiprocessing.get_context("fork").Process(target=flood)
        process.start()
        try:
            flowing.wait(PATIENCE)
            busy = latencies(server, 100)
            self.assertTrue(process.is_alive())
        finally:
            process.kill()
            process.join()
        print(f"     median latency: {calm * 1e6:.0f} us alone, {statistics.median(busy) * 1e6:.0f} us beside an endless pipeline, "
              f"worst {max(busy) * 1e6:.0f} us")


class Stalled(E2ETest):
    def allowance(self):
        return (96 << 20) if sanitizer() else (16 << 20)

    def test_readers_who_stop(self):
        root = self.folder()
        size = 400 << 20
        with open(f"{root}/big", "wb") as file:
            file.truncate(size)
        server = self.httpd(root, "--threads", 1, "--write-timeout", "2s")
        self.assertEqual(server.get("/nothing").status, 404)
        before = server.rss_bytes()
        clients = [server.connect(receive_buffer=16384) for _ in range(20)]
        for client in clients:
            client.send(make_request("GET", "/big"))
        time.sleep(1.0)
        grown = server.rss_bytes() - before
        self.assertLess(grown, self.allowance(), f"{grown >> 20} MiB for 20 stalled readers")
        self.assertEqual(server.get("/nothing").status, 404)
        wait_until(lambda: not server.connections(), "the clients to be closed for standing still", 60)
        for client in clients:
            self.assertLess(len(client.read_bytes(size)), size)
            client.close()

    def test_readers_who_never_read_pipelined_responses(self):
        server = self.hello("--threads", 1, "--write-timeout", "2s", "--max-body-bytes", "1g")
        before = server.rss_bytes()
        client = server.connect(receive_buffer=16384)
        client.socket.settimeout(1.0)
        piece = make_request("GET", "/hello") * 1000
        sent = 0
        try:
            while sent < 100 << 20:
                sent += client.socket.send(piece)
        except OSError:
            pass
        self.assertLess(sent, 100 << 20, "the server reads on and on from one who does not read")
        self.assertLess(server.rss_bytes() - before, self.allowance())
        wait_until(lambda: not server.connections(), "the client to be closed", 60)
        with self.assertRaises(OSError):
            for _ in range(1000):
                client.send(piece)
        client.close()
        self.assertEqual(server.get("/hello").status, 200)

    def test_echo_to_one_who_does_not_read(self):
        server = self.hello("--threads", 1, "--max-body-bytes", "1g", "--write-timeout", "2s")
        before = server.rss_bytes()
        client = server.connect(receive_buffer=16384)
        client.send(make_request("POST", "/echo", [f"Content-Length: {1 << 30}"]))
        client.socket.settimeout(1.0)
        sent = 0
        try:
            while sent < 200 << 20:
                sent += client.socket.send(b"x" * 65536)
        except OSError:
            pass
        self.assertLess(sent, 200 << 20, "no backpressure")
        self.assertLess(server.rss_bytes() - before, self.allowance())
        client.close()
        self.assertEqual(server.get("/hello").status, 200)

    def test_a_slow_but_steady_reader_is_served(self):
        root = self.folder()
        size = 6 << 20
        with open(f"{root}/big", "wb") as file:
            file.truncate(size)
        server = self.httpd(root, "--threads", 1, "--write-timeout", "4s")
        with server.connect(receive_buffer=65536) as client:
            client.send(make_request("GET", "/big"))
            client.read_head()
            got = 0
            while got < size:
                data = client.read_bytes(min(262144, size - got))
                self.assertTrue(data, f"broken off at {got}")
                got += len(data)
                time.sleep(0.25)

    def test_a_large_upload_needs_little_memory(self):
        server = self.hello("--threads", 1, "--max-body-bytes", "10g")
        before = server.rss_bytes()
        total = (64 if sanitizer() else 512) << 20
        with server.connect() as client:
            def send():
                client.send(make_request("POST", "/echo", [f"Content-Length: {total}"]))
                piece = b"u" * (1 << 20)
                for _ in range(total >> 20):
                    client.send(piece)
            join = self.in_background(send)
            client.read_head()
            got, peak = 0, 0
            buffer = bytearray(1 << 20)
            got = len(client.buffer)
            client.buffer.clear()
            while got < total:
                n = client.socket.recv_into(buffer)
                self.assertTrue(n, f"broken off at {got}")
                if got >> 24 != (got + n) >> 24:
                    peak = max(peak, server.rss_bytes())
                got += n
            join()
        self.assertLess(peak - before, self.allowance())

    def test_connections_that_only_open(self):
        server = self.hello("--threads", 2)
        for _ in range(5):
            clients = [server.connect() for _ in range(200)]
            for i, client in enumerate(clients):
                client.reset() if i % 2 else client.close()
        self.assertEqual(server.get("/hello").status, 200)
