"""More than there is room for: who is closed, who is refused, who waits, and that it is over afterwards."""
import re

from support import Closed, E2ETest, make_request, wait_until


class Overload(E2ETest):
    threaded = True

    def crowd(self, server, count, **options):
        clients = [server.connect(**options) for _ in range(count)]
        for client in clients:
            self.addCleanup(client.close)
        return clients

    def said(self, server, what):
        return len(re.findall(what, server.stderr()))

    def room_is_made(self, server, taken):
        """TAKEN of the connections, all there are, give way to others; the log says so once."""
        late = self.crowd(server, 3)
        for client in late:
            client.send(make_request("GET", "/hello"))
        for client in late:
            self.assertEqual(client.read_response().status, 200)
        closed = [client for client in taken if self.is_closed(client)]
        self.assertGreaterEqual(len(closed), 1)
        wait_until(lambda: self.said(server, "the overload is over"), "the overload to be over")
        self.assertIn(self.said(server, "warn .*: overload: connections come near the limit of 20"), range(1, 4))
        self.assertEqual(self.said(server, "the connection limit is reached"), 0)

    def is_closed(self, client):
        client.socket.setblocking(False)
        try:
            while client.socket.recv(65536):
                pass
            return True
        except ConnectionResetError:
            return True
        except BlockingIOError:
            return False

    def test_idle_connections_give_way(self):
        for args in (("--threads", 0), ("--threads", 2), ("--threads", 2, "--accept", "reuseport")):
            server = self.hello("--max-connections", 20, *args)
            idle = self.crowd(server, 20)
            for client in idle[:19]:
                self.assertEqual(client.request("GET", "/hello").status, 200)
            self.room_is_made(server, idle)
            server.stop()

    def test_slow_heads_give_way(self):
        server = self.hello("--threads", 2, "--max-connections", 20)
        slow = self.crowd(server, 20)
        for client in slow:
            client.send(b"GET /hello HTTP/1.1\r\nHo")
        self.room_is_made(server, slow)

    def test_slow_bodies_give_way(self):
        server = self.hello("--threads", 2, "--max-connections", 20)
        slow = self.crowd(server, 20)
        for client in slow:
            client.send(make_request("POST", "/echo", ["Content-Length: 1000000"]) + b"x")
        self.room_is_made(server, slow)

    def test_slow_readers_give_way(self):
        root = self.folder()
        with open(f"{root}/big", "wb") as file:
            file.truncate(64 << 20)
        server = self.httpd(root, "--threads", 2, "--max-connections", 20)
        slow = self.crowd(server, 20, receive_buffer=4096)
        for client in slow:
            client.send(make_request("GET", "/big"))
        late = self.crowd(server, 1)[0]
        late.send(make_request("GET", "/nothing"))
        self.assertEqual(late.read_response().status, 404)

    def test_a_request_that_is_worked_for_stays(self):
        server = self.hello("--threads", 1, "--max-connections", 4)
        busy = self.crowd(server, 4)
        for client in busy:
            client.send(make_request("GET", "/sleep/2000"))
        late = self.crowd(server, 1)[0]
        late.send(make_request("GET", "/hello"))
        for client in busy:
            self.assertEqual(client.read_response().status, 200)
        self.assertEqual(late.read_response().status, 200)

    def test_requests_in_flight(self):
        server = self.hello("--threads", 2, "--max-requests", 3)
        busy = self.crowd(server, 3)
        for client in busy:
            client.send(make_request("GET", "/sleep/3000"))
        late = self.crowd(server, 1)[0]
        refused = wait_until(lambda: self.refusal(late), "a request to be refused")
        self.assertEqual(refused.header("Retry-After"), "1")
        for client in busy:
            self.assertEqual(client.read_response().status, 200)
        self.assertEqual(late.request("GET", "/sleep/1").status, 200, "the connection stays")
        wait_until(lambda: self.said(server, "the overload is over"), "the overload to be over")
        self.assertGreaterEqual(self.said(server, "overload: requests are refused"), 1)

    def refusal(self, client):
        response = client.request("GET", "/hello")
        return response if response.status == 503 else None


class ByAddress(E2ETest):
    threaded = True

    def test_requests_a_second(self):
        server = self.hello("--threads", 2, "--request-rate", "1:20")
        with server.connect() as client:
            client.send(make_request("GET", "/hello") * 200)
            responses = [client.read_response() for _ in range(200)]
        statuses = [response.status for response in responses]
        self.assertEqual(statuses[:20], [200] * 20)
        self.assertEqual(set(statuses), {200, 429})
        refused = responses[statuses.index(429)]
        self.assertEqual(refused.header("Retry-After"), "1")
        server.await_log(r"warn .*127\.0\.0\.1 makes more than 1 requests a second")

    def test_connections_a_second(self):
        server = self.hello("--threads", 2, "--accept-rate", "1:20")
        served = refused = 0
        while refused < 20:
            try:
                with server.connect() as client:
                    served += client.request("GET", "/hello").status == 200
            except (OSError, Closed):
                refused += 1
                self.assertGreaterEqual(served, 20)
        self.assertLess(served, 10000)
        server.await_log(r"warn .*127\.0\.0\.1 makes more than 1 connections a second")
