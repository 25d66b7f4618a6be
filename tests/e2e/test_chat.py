"""rill-chat: rooms, nicknames and lines, across all loops."""
import threading

from lines import LineClient
from support import E2ETest, sanitizer


class Chat(E2ETest):
    threaded = True

    def chat(self, *args):
        return self.start("rill-chat", "--threads", 3, *args)

    def person(self, server, nick, room=None, **options):
        """One who has come, has a name, and has heard all that is said about that."""
        client = LineClient(self, server, **options)
        client.send(f"/nick {nick}")
        client.until(f"... is now {nick}")
        if room:
            client.send(f"/join {room}")
            client.until(f"* {nick} has come to {room}")
        return client

    def test_a_conversation(self):
        server = self.chat()
        ann = self.person(server, "ann")
        bob = self.person(server, "bob")
        ann.until("* guest-2 is now bob")
        ann.send("hello", "", "how are you?")
        for one in (ann, bob):
            one.expect("ann: hello", "ann: how are you?")
        bob.send("/who")
        self.assertEqual(sorted([bob.line(), bob.line()]), ["* ann is here", "* bob is here"])
        bob.send("/quit")
        self.assertIsNone(bob.line())
        ann.expect("* bob has left lobby")
        ann.send("/who")
        ann.expect("* ann is here")

    def test_nobody_writes_on_others_terminals(self):
        server = self.chat()
        ann, bob = self.person(server, "ann"), self.person(server, "bob")
        ann.send("\x1b[2J red \x07\x7f \x9b1m tab\t grüße")
        bob.until("ann: ?[2J red ?? ??1m tab\t grüße")

    def test_rooms_are_apart(self):
        server = self.chat()
        ann, bob, eve = [self.person(server, name) for name in ("ann", "bob", "eve")]
        ann.send("/join garden")
        ann.until("* ann has come to garden")
        for one in (bob, eve):
            one.until("* ann has left lobby")
        ann.send("is anybody here?")
        ann.expect("ann: is anybody here?")
        bob.send("/join garden")
        bob.until("* bob has come to garden")
        ann.expect("* bob has come to garden")
        eve.expect("* bob has left lobby")
        bob.send("I am")
        for one in (ann, bob):
            one.expect("bob: I am")
        eve.send("nobody left")
        eve.expect("eve: nobody left")
        eve.send("/who")
        eve.expect("* eve is here")

    def test_what_is_refused(self):
        server = self.chat()
        ann, bob = self.person(server, "ann"), self.person(server, "bob")
        ann.until("* guest-2 is now bob")
        rule = "* a name is 1 to 20 letters, digits, - and _"
        for line, answer in (("/nick bob", "* that name is taken"), ("/nick ann", "* that name is taken"),
                             ("/nick", rule), ("/nick ", rule), ("/nick a b", rule), ("/nick " + "x" * 21, rule),
                             ("/join", rule), ("/join ../x", rule), ("/join lobby", "* you are there"),
                             ("/nonsense", "* /nick NAME, /join ROOM, /who, /quit; all else is said to the room")):
            with self.subTest(line):
                ann.send(line)
                ann.expect(answer)
        ann.send("/nick " + "x" * 20)
        ann.expect("* ann is now " + "x" * 20)
        bob.send("y" * 1000)
        bob.until("bob: " + "y" * 1000)
        bob.send("y" * 1001)
        bob.expect("* a line has at most 1000 bytes")
        self.assertIsNone(bob.line())
        bob.socket.close()
        ann.until("* bob has left lobby")

    def test_who_goes_without_a_word_is_missed(self):
        server = self.chat()
        ann, bob = self.person(server, "ann"), self.person(server, "bob")
        bob.send("half a li")
        bob.socket.close()
        ann.until("* bob has left lobby")

    def test_everybody_hears_the_same(self):
        """Many speak at once; all hear all of it in one order, and each speaker in his own."""
        server, lines = self.chat(), 20 if sanitizer() == "thread" else 100
        people = [self.person(server, f"p{i}", "hall") for i in range(9)]
        people[0].until("* p8 has come to hall")

        def speak(i):
            people[i].send(*[f"{i} {n}" for n in range(lines)])

        speakers = [self.in_background(speak, i) for i in range(9)]
        heard = []
        for person in people:
            said = []
            while len(said) < 9 * lines:
                line = person.line()
                if not line.startswith("*"):
                    said.append(line)
            heard.append(said)
        for join in speakers:
            join()
        for said in heard[1:]:
            self.assertEqual(said, heard[0])
        for i in range(9):
            self.assertEqual([line for line in heard[0] if line.startswith(f"p{i}: ")],
                             [f"p{i}: {i} {n}" for n in range(lines)])

    def test_one_who_does_not_listen_holds_nobody_up(self):
        server = self.chat()
        deaf = self.person(server, "deaf", receive_buffer=4096)
        ann, bob = self.person(server, "ann"), self.person(server, "bob")
        ann.until("... is now bob")
        before, count = server.rss_bytes(), 12000
        for n in range(0, count, 100):  # so that only one is slow: these two hear as fast as the one speaks
            said = [f"{k:08} " + "x" * 900 for k in range(n, n + 100)]
            ann.send(*said)
            for one in (ann, bob):
                one.expect(*[f"ann: {line}" for line in said])
        if not sanitizer():
            self.assertLess(server.rss_bytes() - before, 4 << 20)  # of 11 MB that were said
        ann.send("the end")
        missed = deaf.until("ann: the end")
        numbers = [int(line.split()[1]) for line in missed if line.startswith("ann: ")]
        self.assertEqual(numbers, sorted(set(numbers)))  # whole lines, in order, some left out
        self.assertEqual(numbers[-1], count - 1)
        self.assertLess(len(numbers), count)

    def test_stops_in_the_middle_of_a_conversation(self):
        server, over = self.chat(), threading.Event()

        def speak(i):
            client = LineClient(self, server)
            try:
                while not over.is_set():
                    client.send("word " * 20)
                    client.line()
            except OSError:
                pass

        speakers = [self.in_background(speak, i) for i in range(6)]
        listener = self.person(server, "listener")
        for _ in range(50):
            listener.line()
        server.stop()
        over.set()
        for join in speakers:
            join()
