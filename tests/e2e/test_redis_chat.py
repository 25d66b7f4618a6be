"""rill-redis-chat: two processes that meet in a real Redis, which comes, goes and hangs."""
import os
import re
import signal
import socket
import subprocess

from support import PATIENCE, E2ETest, have, program, server_environment, wait_until


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Redis:
    """A redis-server of the test's own."""

    def __init__(self, test):
        self.folder, self.port, self.process, self.password = test.folder(), free_port(), None, ""
        test.addCleanup(self.kill)

    @property
    def path(self):
        return self.folder + "/redis.sock"

    def start(self, password=""):
        self.password = password
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.path, "--save", "",
             "--appendonly", "no", "--daemonize", "no", "--dir", self.folder, "--loglevel", "warning",
             "--requirepass", password],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wait_until(lambda: self.process.poll() is None and self.command("PING") == "PONG", "Redis to start")
        return self

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        if self.process:
            self.process.wait()
        self.process = None

    def command(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True,
                              timeout=PATIENCE, check=False, env={**os.environ, "REDISCLI_AUTH": self.password})
        return done.stdout.strip() if done.returncode == 0 else None

    def topics(self):
        return sorted(self.command("PUBSUB", "CHANNELS").split())


class User:
    """A connection whose lines are read strictly, one after the other."""

    def __init__(self, test, chat, nick=None):
        self.socket = socket.create_connection(("127.0.0.1", chat.port), PATIENCE)
        self.reader = self.socket.makefile("r", encoding="utf-8", newline="\n")
        test.addCleanup(self.close)
        self.nick = nick
        if nick:
            self.until("* you are in lobby")
            heard = ""
            while not heard.endswith(nick):  # the connection that speaks may come later than the one that listens
                self.say(f"/nick {nick}")
                heard = self.until_match(rf"\* \S+ is now {nick}|.* nobody has heard that")

    def close(self):
        self.reader.close()
        self.socket.close()

    def say(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def read(self):
        line = self.reader.readline()
        assert line.endswith("\n"), f"{self.nick}: the connection has ended: {line!r}"
        return line[:-1]

    def until(self, wanted):
        """Reads up to the line WANTED; returns what came before."""
        before = []
        while (line := self.read()) != wanted:
            before.append(line)
        return before

    def until_match(self, pattern):
        """Reads up to a line that matches, and returns it."""
        while not re.fullmatch(pattern, line := self.read()):
            pass
        return line


class RedisChatTest(E2ETest):
    threaded = True

    def setUp(self):
        if not os.access(program("rill-redis-chat"), os.X_OK):
            self.skipTest("rill-redis-chat was not built: there is no hiredis")
        if not have("redis-server") or not have("redis-cli"):
            self.skipTest("there is no redis-server")
        self.redis = Redis(self)

    def chat(self, *args, redis=None):
        return self.start("rill-redis-chat", "--redis", redis or f"127.0.0.1:{self.redis.port}", "--threads", 2, *args)

    def two(self):
        """Two processes, and a user of each."""
        self.redis.start()
        chats = [self.chat(), self.chat()]
        return chats, User(self, chats[0], "ann"), User(self, chats[1], "bob")


class Talking(RedisChatTest):
    def test_all_hear_all_in_one_order(self):
        chats, *users = self.two()
        users += [User(self, chats[i % 2], f"user-{i}") for i in range(6)]
        for number in range(50):
            for user in users:
                user.say(f"line {number}")
        heard = []
        for user in users:
            lines = []
            while len(lines) < 50 * len(users):
                line = user.read()
                if ": line " in line:
                    lines.append(line)
            heard.append(lines)
        for lines in heard:
            self.assertEqual(lines, heard[0])
        for user in users:
            self.assertEqual([line for line in heard[0] if line.startswith(user.nick + ":")],
                             [f"{user.nick}: line {number}" for number in range(50)])

    def test_rooms(self):
        unused, ann, bob = self.two()
        ann.say("/join kitchen")
        ann.until("* you are in kitchen")
        bob.until("* ann has left lobby")
        bob.say("is anybody here?")
        self.assertEqual(bob.read(), "bob: is anybody here?")
        bob.say("/join kitchen")
        bob.until("* you are in kitchen")
        ann.until("* bob has come to kitchen")
        ann.say("hello bob")
        self.assertEqual(ann.read(), "ann: hello bob")
        bob.until("ann: hello bob")  # that he has come he hears only if he was quick to listen
        bob.say("/nick robert", "hello ann")
        for user in (ann, bob):
            self.assertEqual(user.read(), "* bob is now robert")
            self.assertEqual(user.read(), "robert: hello ann")
        bob.say("/quit")
        self.assertEqual(ann.read(), "* robert has left kitchen")
        self.assertEqual(bob.reader.read(), "")

    def test_what_is_no_command(self):
        unused, ann, bob = self.two()
        for line, answer in (("/help", "* /nick NAME, /join ROOM, /quit; all else is said to the room"),
                             ("/nick", "* a name is 1 to 20 letters, digits, - and _"),
                             ("/nick two words", "* a name is 1 to 20 letters, digits, - and _"),
                             ("/join " + "x" * 21, "* a name is 1 to 20 letters, digits, - and _"),
                             ("/join a*", "* a name is 1 to 20 letters, digits, - and _"),
                             ("/join lobby", "* you are there")):
            ann.say(line)
            ann.until(answer)
        ann.say("", "%s %n %b is said as it is")
        bob.until("ann: %s %n %b is said as it is")
        ann.say("x" * 1000)
        bob.until("ann: " + "x" * 1000)
        ann.say("x" * 1001)
        ann.until("* a line has at most 1000 bytes")
        ann.close()
        bob.until("* ann has left lobby")

    def test_other_programs_take_part(self):
        unused, ann, bob = self.two()
        self.redis.command("PUBLISH", "chat:lobby", "robot: hello")
        ann.until("robot: hello")
        bob.until("robot: hello")
        self.redis.command("PUBLISH", "chat:lobby", "two\nlines")  # would be somebody else's
        self.redis.command("PUBLISH", "chat:elsewhere", "robot: nobody is here")
        self.redis.command("PUBLISH", "chat:", "robot: nor here")
        self.redis.command("PUBLISH", "chat:lobby", "")
        self.redis.command("PUBLISH", "chat:lobby", "robot: \x1b[2J")  # nobody writes on others' terminals
        self.assertEqual(bob.until("robot: ?[2J"), [""])
        self.redis.command("PUBLISH", "chat:lobby", "robot: bye")
        self.assertEqual(bob.until("robot: bye"), [])

    def test_rooms_come_and_go(self):
        """A room is subscribed to while somebody is there."""
        chats, ann, bob = self.two()
        for number in range(30):
            ann.say(f"/join room-{number}", f"/join room-{number + 1}", f"/join room-{number}")
            bob.say(f"/join room-{number % 3}", "/join lobby")
        bob.say("that was quick")
        bob.until("bob: that was quick")
        wait_until(lambda: self.redis.topics() == ["chat:lobby", "chat:room-29"], "the other rooms to be left")
        ann.say("still here")
        ann.until("ann: still here")
        ann.close()
        wait_until(lambda: self.redis.topics() == ["chat:lobby"], "the last room to be left")
        again = User(self, chats[0], "again")
        again.say("hello")
        bob.until("again: hello")

    def test_a_redis_on_a_unix_socket(self):
        self.redis.start()
        ann = User(self, self.chat(redis="unix:" + self.redis.path), "ann")
        bob = User(self, self.chat(), "bob")
        ann.say("by file")
        bob.until("ann: by file")


class Passwords(RedisChatTest):
    def password(self, text):
        path = self.folder() + "/password"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return "--redis-password-file", path

    def test_with_the_password(self):
        self.redis.start("open sesame")
        ann, bob = [User(self, self.chat(*self.password("open sesame\nand a second line\n")), name)
                    for name in ("ann", "bob")]
        ann.say("let in")
        bob.until("ann: let in")
        self.redis.kill()
        bob.until("* Redis is away: nothing is heard until it is back")
        self.redis.start("open sesame")
        bob.until("* you are in lobby")
        User(self, self.chat(*self.password("open sesame")), "eve")
        bob.until_match(r"\* guest-\d+ is now eve")

    def test_with_a_name(self):
        self.redis.start("the default user's")
        self.redis.command("ACL", "SETUSER", "chatter", "on", ">secret", "~*", "&chat:*", "+@all")
        ann = User(self, self.chat("--redis-user", "chatter", *self.password("secret")), "ann")
        self.redis.command("PUBLISH", "chat:lobby", "robot: hello")
        ann.until("robot: hello")
        self.assertIn("user=chatter", self.redis.command("CLIENT", "LIST"))

    def test_who_is_not_let_in(self):
        """Says so once, goes on trying, and is in as soon as Redis has changed its mind."""
        self.redis.start("open sesame")
        chat = self.chat(*self.password("open barley"))
        ann = User(self, chat)
        ann.say("anybody?")
        ann.until("* Redis is away: nobody has heard that")
        for loop in range(2):
            chat.await_log(rf"warn reactor-{loop}: Redis is away: WRONGPASS [^\n]+; trying until it is back")
        self.redis.command("CONFIG", "SET", "requirepass", "open barley")
        ann.until("* you are in lobby")
        self.assertEqual(chat.stderr().count("Redis is away"), 2)  # once a loop

    def test_without_one(self):
        self.redis.start("open sesame")
        self.chat().await_log(r"Redis is away: NOAUTH [^\n]+; trying")

    def test_a_file_without_one(self):
        for args, status, says in ((("--redis-password-file", "/nonexistent"), 1, "No such file"),
                                   (("--redis-password-file", self.folder()), 1, "Is a directory"),
                                   (self.password(""), 1, "a first line of"), (self.password("\nx"), 1, "a first line of"),
                                   (self.password("x" * 511), 1, "a first line of"),
                                   (("--redis-user", "chatter"), 2, "--redis-password-file")):
            done = subprocess.run([program("rill-redis-chat"), "--listen", "127.0.0.1:0", *args], capture_output=True,
                                  text=True, timeout=PATIENCE, check=False, env=server_environment())
            self.assertEqual(done.returncode, status, done)
            self.assertRegex(done.stderr, r"\Arill-redis-chat: [^\n]+\n\Z")
            self.assertIn(says, done.stderr)


class Outages(RedisChatTest):
    def test_redis_goes_and_comes_back(self):
        unused, ann, bob = self.two()
        ann.say("/join kitchen")
        ann.until("* ann has come to kitchen")
        self.redis.kill()
        for user in (ann, bob):
            user.until("* Redis is away: nothing is heard until it is back")
        ann.say("hello?")
        ann.until_match(r"\* Redis is away: (perhaps )?nobody has heard that")
        ann.say("/help")  # nobody waits for Redis
        ann.until("* /nick NAME, /join ROOM, /quit; all else is said to the room")
        ann.say("/join cellar")
        self.redis.start()
        ann.until("* you are in cellar")
        bob.until("* you are in lobby")
        bob.say("/join cellar")
        bob.until("* you are in cellar")
        self.until_heard(ann, bob)

    def until_heard(self, speaker, *listeners):
        """The connection that speaks may come back later than the one that listens."""
        number = 0

        def is_heard():
            nonlocal number
            number += 1
            speaker.say(f"number {number}")
            line = speaker.until_match(rf"{speaker.nick}: number {number}|.* nobody has heard that")
            return line.startswith(speaker.nick)

        wait_until(is_heard, "Redis to be spoken to")
        for listener in listeners:
            listener.until(f"{speaker.nick}: number {number}")

    def test_redis_comes_later(self):
        chat = self.chat()
        ann = User(self, chat)
        ann.say("/nick ann")
        ann.until("* Redis is away: nobody has heard that")
        self.redis.start()
        ann.until("* you are in lobby")
        ann.nick = "ann"
        self.until_heard(ann)
        text = chat.stderr()
        self.assertRegex(text, r"warn reactor-0: Redis is away: \S")
        self.assertLessEqual(text.count("Redis is away"), 2)  # once a loop, not once a try

    def test_redis_hangs(self):
        unused, ann, bob = self.two()
        self.redis.process.send_signal(signal.SIGSTOP)
        ann.say("is it slow?")
        ann.say("/help")
        ann.until("* /nick NAME, /join ROOM, /quit; all else is said to the room")
        self.redis.process.send_signal(signal.SIGCONT)
        bob.until("ann: is it slow?")

    def test_a_redis_that_hangs_fills_no_memory(self):
        self.redis.start()
        chat = self.start("rill-redis-chat", "--redis", f"127.0.0.1:{self.redis.port}", "--threads", 1)
        ann = User(self, chat, "ann")
        self.redis.process.send_signal(signal.SIGSTOP)
        for unused in range(12):
            ann.say(*["x"] * 1000)
        ann.until("* Redis is away: nobody has heard that")
        self.redis.process.send_signal(signal.SIGCONT)
        ann.until("ann: x")

    def test_stopping(self):
        """With Redis there, away and hanging."""
        for state in ("there", "away", "hanging"):
            with self.subTest(state):
                self.redis.start()
                chat = self.chat()
                users = [User(self, chat, f"user-{number}") for number in range(4)]
                if state == "away":
                    self.redis.kill()
                elif state == "hanging":
                    self.redis.process.send_signal(signal.SIGSTOP)
                for user in users:
                    user.say("a last word")
                chat.stop()
                for user in users:
                    user.close()
                self.redis.kill()

    def test_an_address_that_is_none(self):
        for address in ("nonsense", "", "127.0.0.1:99999", "unix:"):
            done = subprocess.run([program("rill-redis-chat"), "--redis", address], capture_output=True,
                                  timeout=PATIENCE, check=False, env=server_environment())
            self.assertEqual(done.returncode, 2, done)
            self.assertIn(b"--redis", done.stderr)
