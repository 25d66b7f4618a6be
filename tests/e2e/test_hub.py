"""rill-hub: publish and subscribe with wildcards, across all loops."""
import subprocess

from lines import LineClient
from support import PATIENCE, E2ETest, sanitizer


class Hub(E2ETest):
    threaded = True

    def hub(self, *args):
        return self.start("rill-hub", "--threads", 3, *args)

    def subscriber(self, server, *subscriptions, **options):
        client = LineClient(self, server, **options)
        for subscription in subscriptions:
            client.send(f"sub {subscription}")
            client.expect(f"ok {subscription.split()[0]}")
        return client

    def test_wildcards(self):
        server = self.hub()
        sport, news, everything, chess = [self.subscriber(server, pattern) for pattern in
                                          ("news.sport", "news.*", ">", "news.*.chess")]
        publisher = LineClient(self, server)
        publisher.send("pub news.sport a goal", "pub news.sport.chess a draw", "pub weather rain", "pub news.weather sun",
                       "pub end")
        sport.expect("msg news.sport a goal")
        news.expect("msg news.sport a goal", "msg news.weather sun")
        chess.expect("msg news.sport.chess a draw")
        everything.expect("msg news.sport a goal", "msg news.sport.chess a draw", "msg weather rain",
                          "msg news.weather sun", "msg end ")

    def test_subscriptions_come_and_go(self):
        server = self.hub()
        client = self.subscriber(server, "a.*", "a.b")
        publisher = LineClient(self, server)
        publisher.send("pub a.b one")
        client.expect("msg a.b one", "msg a.b one")  # one for each pattern
        client.send("unsub a.*", "unsub a.*")
        client.expect("ok a.*", "error that is not subscribed to")
        publisher.send("pub a.b two", "pub a.c three", "pub a.b four")
        client.expect("msg a.b two", "msg a.b four")
        client.send("unsub a.b", "pub a.b to itself no more", "sub a.b", "pub a.b to itself")
        client.expect("ok a.b", "ok a.b", "msg a.b to itself")

    def test_what_is_refused(self):
        server = self.hub()
        client = self.subscriber(server, "taken")
        topic = "error a topic is words between dots; in a pattern * is any word, and > at the end all the rest"
        verb = "error sub PATTERN [drop|conflate|close], unsub PATTERN or pub TOPIC TEXT is wanted"
        for line, answer in (("", verb), ("nonsense", verb), ("SUB a", verb), ("sub", topic), ("sub ", topic),
                             ("pub", topic), ("pub *.a x", topic), ("pub > x", topic), ("sub >.a", topic),
                             ("sub a..b", topic), ("sub .a", topic), ("sub " + "x" * 201, topic),
                             ("sub taken", "error that is subscribed to"), ("sub a sometimes",
                                                                            "error drop, conflate or close is wanted"),
                             ("unsub other", "error that is not subscribed to")):
            with self.subTest(line):
                client.send(line)
                client.expect(answer)
        client.send(*[f"sub t{n}" for n in range(128)])
        for n in range(127):
            client.expect(f"ok t{n}")
        client.expect("error there are 128 subscriptions already")
        client.send("pub t1 " + "y" * 8185)
        client.expect("msg t1 " + "y" * 8185)
        client.send("pub t1 " + "y" * 8186)
        client.expect("error a line has at most 8192 bytes")
        self.assertIsNone(client.line())

    def test_each_chooses_what_becomes_of_him_when_he_is_slow(self):
        server, count = self.hub(), 10000
        drop, conflate, close = [self.subscriber(server, f"prices {policy}", receive_buffer=4096)
                                 for policy in ("drop", "conflate", "close")]
        reader, publisher = self.subscriber(server, "prices"), LineClient(self, server)
        before = server.rss_bytes()
        for n in range(0, count, 100):  # the reader is as fast as the publisher
            texts = [f"prices {k:06}" + "x" * 1000 for k in range(n, n + 100)]
            publisher.send(*[f"pub {text}" for text in texts])
            reader.expect(*[f"msg {text}" for text in texts])
        if not sanitizer():
            self.assertLess(server.rss_bytes() - before, 4 << 20)  # of 10 MB, to four subscribers
        publisher.send("pub prices end")
        numbers = {}
        for name, client in (("drop", drop), ("conflate", conflate)):
            numbers[name] = [int(line[11:17]) for line in client.until("msg prices end")]
            self.assertEqual(numbers[name], sorted(set(numbers[name])))
            self.assertLess(len(numbers[name]), count)
        self.assertEqual(numbers["drop"][-1], count - 1)
        self.assertLess(len(numbers["conflate"]), len(numbers["drop"]))
        last = None
        try:
            while (line := close.line()) is not None:
                last = line
        except AssertionError as error:  # cut in the middle of a line: that is what it asked for
            self.assertIn("half a line", str(error))
        self.assertLess(int(last[11:17]), count - 1)

    def test_from_the_shell(self):
        server = self.hub()
        listener = subprocess.Popen(["nc", "127.0.0.1", str(server.port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(listener.stdout.close)
        self.addCleanup(listener.wait)
        self.addCleanup(listener.kill)
        listener.stdin.write(b"sub shell.>\n")
        listener.stdin.flush()
        self.assertEqual(listener.stdout.readline(), b"ok shell.>\n")
        done = subprocess.run(["nc", "-N", "127.0.0.1", str(server.port)], input=b"pub shell.word hello\n",
                              capture_output=True, timeout=PATIENCE, check=True)
        self.assertEqual(done.stdout, b"")
        self.assertEqual(listener.stdout.readline(), b"msg shell.word hello\n")
        listener.stdin.close()

    def test_stops_under_load(self):
        server = self.hub()

        def publish():
            client = LineClient(self, server)
            try:
                while True:
                    client.send(*["pub load.a " + "x" * 200] * 10)
            except OSError:
                pass

        def read(policy):
            client = self.subscriber(server, f"load.* {policy}")
            try:
                while client.line() is not None:
                    pass
            except AssertionError as error:
                self.assertIn("half a line", str(error))

        jobs = [self.in_background(publish) for _ in range(3)]
        jobs += [self.in_background(read, policy) for policy in ("drop", "conflate", "close")]
        watcher = self.subscriber(server, ">")
        for _ in range(300):
            watcher.line()
        server.stop()
        for join in jobs:
            join()
