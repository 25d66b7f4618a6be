"""Running out of descriptors or of allowed connections: no spinning, one line in the log, and service goes on."""
import time

from support import E2ETest, make_request, wait_until


class Descriptors(E2ETest):
    def crowd(self, server, count):
        clients = []
        for _ in range(count):
            clients.append(server.connect())
            self.addCleanup(clients[-1].close)
        return clients

    def run_out(self, *args, program="rill-hello"):
        server = self.start(program, "--threads", 1, *args, nofile=64)
        clients = self.crowd(server, 200)
        time.sleep(0.5)
        begin_cpu = server.cpu_seconds()
        time.sleep(2.0)
        spent = server.cpu_seconds() - begin_cpu
        self.assertLess(spent, 0.5, f"{spent} s of CPU in 2 s of doing nothing")
        self.assertIsNone(server.process.poll())
        # Those who are in and silent give way to those who come; the last one stays.
        last = clients[-1]
        last.send(make_request("GET", "/hello"))
        # A file server may find no descriptor left for the look-up.
        self.assertIn(last.read_response().status, (200,) if program == "rill-hello" else (404, 503))
        lines = [l for l in server.stderr().splitlines() if " warn " in l or " error " in l]
        self.assertGreaterEqual(len(lines), 1, "not a word in the log")
        self.assertLessEqual(len(lines), 3, "\n".join(lines))
        for client in clients:
            client.close()
        wait_until(lambda: self.served(server), "service as before")
        self.assertLess(server.descriptors(), 60)

    def served(self, server):
        try:
            return server.get("/hello").status in (200, 404)
        except OSError:
            return False

    def test_out_of_descriptors(self):
        self.run_out()

    def test_out_of_descriptors_in_spite_of_max_connections(self):
        self.run_out("--max-connections", 10000)

    def test_out_of_descriptors_reuseport(self):
        self.run_out("--accept", "reuseport", "--max-connections", 10000)

    def test_out_of_descriptors_with_files(self):
        self.run_out("--max-connections", 10000, self.folder(), program="rill-httpd")

    def test_deferred_accepts(self):
        """With --defer-accept on the kernel keeps a silent client to itself; one that speaks is served at once."""
        for mode in ("round-robin", "reuseport"):
            server = self.hello("--defer-accept", "on", "--threads", 1, "--accept", mode)
            # It does so for a second. On a busy machine that may be over before one looks, but not ten times.
            self.assertTrue(any(self.silent_are_kept_out(server) for _ in range(10)), "silent clients were accepted")

    def silent_are_kept_out(self, server):
        silent = self.crowd(server, 20)
        time.sleep(0.2)
        accepted = server.connections()
        for client in silent:
            self.assertEqual(client.request("GET", "/hello").status, 200)
        self.assertEqual(server.connections(), 20)
        for client in silent:
            client.close()
        wait_until(lambda: not server.connections(), "the connections to end")
        return accepted == 0

    def max_connections(self, *args):
        server = self.hello("--max-connections", 5, *args)
        inside = self.crowd(server, 5)
        for client in inside:  # as long as they are worked for they stay
            self.assertEqual(client.request("GET", "/hello").status, 200)
            client.send(make_request("GET", "/sleep/1000"))
        late = self.crowd(server, 3)
        for client in late:
            client.send(make_request("GET", "/hello"))
        server.await_log("overload: connections come near the limit of 5")
        for client in inside:
            self.assertEqual(client.read_response().status, 200)
        for client in inside[:3]:
            client.close()
        for client in late:
            client.socket.settimeout(15)
            self.assertEqual(client.read_response().status, 200)

    def test_max_connections(self):
        self.max_connections("--threads", 1)

    def test_max_connections_alone(self):
        self.max_connections("--threads", 0)

    def test_max_connections_many_loops(self):
        self.max_connections("--threads", 3)
