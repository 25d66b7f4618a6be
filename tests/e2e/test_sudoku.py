"""rill-sudoku: what it answers and in which order, where it solves, and what becomes of puzzles nobody waits for."""
import random
import signal
import socket
import subprocess
import time

from support import PATIENCE, E2ETest, program, server_environment, wait_until

EASY = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
EASY_SOLVED = "534678912672195348198342567859761423426853791713924856961537284287419635345286179"
HARD = "8..........36......7..9.2...5...7.......457.....1...3...1....68..85...1..9....4.."
HARD_SOLVED = "812753649943682175675491283154237896369845721287169534521974368438526917796318452"
WRONG = "55" + "." * 79
# Takes minutes, and has no solution.
ENDLESS = ".....5.8....6.1.43..........1.5........1.6...3.......553.....61........4........."
MODES = ("loop", "pool", "bounded")


class Solver:
    """A client."""

    def __init__(self, test, server):
        self.socket = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        self.reader = self.socket.makefile("rb")
        test.addCleanup(self.close)

    def close(self):
        self.reader.close()
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def send(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode("latin-1"))

    def read(self, count=1):
        lines = []
        for unused in range(count):
            line = self.reader.readline()
            assert line.endswith(b"\n") and not line.endswith(b"\r\n"), f"no whole line: {line!r} after {lines}"
            lines.append(line[:-1].decode("latin-1"))
        return lines

    def ask(self, *lines):
        self.send(*lines)
        return self.read(len(lines))

    def at_end(self):
        return self.reader.read() == b""


class SudokuTest(E2ETest):
    threaded = True

    def sudoku(self, *args, **options):
        return self.start("rill-sudoku", *args, **options)

    def in_each_mode(self, check, *args):
        """Calls CHECK with a server and a client, for each mode."""
        for mode in MODES:
            with self.subTest(mode):
                server = self.sudoku("--solve", mode, "--threads", 2, "--workers", 2, *args)
                client = Solver(self, server)
                check(server, client)
                client.close()
                server.stop()


class Answers(SudokuTest):
    def test_what_is_answered(self):
        def check(unused_server, client):
            for line, answer in ((EASY, EASY_SOLVED), (HARD, HARD_SOLVED), (HARD.replace(".", "0"), HARD_SOLVED),
                                 (EASY_SOLVED, EASY_SOLVED), (WRONG, "NoSolution"), (ENDLESS, "TooHard"),
                                 ("", "BadRequest"), ("53", "BadRequest"), (EASY + "1", "BadRequest"),
                                 (EASY[:-1] + "x", "BadRequest"), (EASY[:-1] + "\xe9", "BadRequest")):
                self.assertEqual(client.ask(line), [answer], line)
                for name in ("a", "", "x" * 46, "1 2"):
                    if len(line) <= 81:  # longer ones have no room for every name
                        self.assertEqual(client.ask(f"{name}:{line}"), [f"{name}:{answer}"], line)

        self.in_each_mode(check, "--max-guesses", 1000)

    def test_carriage_returns_are_no_part_of_a_line(self):
        def check(unused_server, client):
            client.socket.sendall(f"1:{EASY}\r\n{EASY}\r\n".encode())
            self.assertEqual(sorted(client.read(2)), [f"1:{EASY_SOLVED}", EASY_SOLVED])

        self.in_each_mode(check)

    def test_a_line_without_end(self):
        def check(unused_server, client):
            client.send(EASY)
            client.socket.sendall(b"7" * 200)
            self.assertEqual(client.read(2), [EASY_SOLVED, "BadRequest"])
            self.assertTrue(client.at_end())

        self.in_each_mode(check)

    def test_in_pieces(self):
        def check(unused_server, client):
            for byte in f"1:{EASY}\n{HARD}\n2:{EASY}\n".encode():
                client.socket.sendall(bytes([byte]))
            self.assertEqual(sorted(client.read(3)), [f"1:{EASY_SOLVED}", f"2:{EASY_SOLVED}", HARD_SOLVED])

        self.in_each_mode(check)

    def test_order(self):
        """Without an ID answers come in the order of the lines; with one, each comes once."""
        def check(unused_server, client):
            lines, expected = [], []
            for number in range(300):
                name = f"{number}:" if number % 3 else ""
                puzzle, answer = ((HARD, HARD_SOLVED), (EASY, EASY_SOLVED), (WRONG, "NoSolution"))[number // 3 % 3]
                lines.append(name + puzzle)
                expected.append(name + answer)
            answers = client.ask(*lines)
            self.assertEqual(sorted(answers), sorted(expected))
            plain = [line for line in answers if ":" not in line]
            self.assertEqual(plain, [line for line in expected if ":" not in line])

        self.in_each_mode(check, "--worker-queue", 1000)

    def test_the_end_of_the_stream_waits_for_the_answers(self):
        def check(server, unused_client):
            lines = [f"{number}:{HARD}" for number in range(8)] + [HARD] * 8 + ["8:" + EASY]
            done = subprocess.run(["nc", "-N", "127.0.0.1", str(server.port)], input="\n".join(lines + [EASY[:40]]),
                                  capture_output=True, text=True, timeout=PATIENCE, check=True)
            self.assertEqual(sorted(done.stdout.splitlines()),
                             sorted([f"{number}:{HARD_SOLVED}" for number in range(8)] + [HARD_SOLVED] * 8 +
                                    ["8:" + EASY_SOLVED]))

        self.in_each_mode(check, "--worker-queue", 100)

    def test_many_clients(self):
        def check(server, unused_client):
            clients = [Solver(self, server) for unused in range(8)]
            for client in clients:
                client.send(*(f"{number}:{HARD if number % 4 == 0 else EASY}" for number in range(60)))
            for client in clients:
                answers = dict(line.split(":") for line in client.read(60))
                self.assertEqual(answers, {str(n): EASY_SOLVED if n % 4 else HARD_SOLVED for n in range(60)})

        self.in_each_mode(check, "--worker-queue", 10000)

    def test_usage(self):
        for args in (("--solve", "elsewhere"), ("--solve", ""), ("--max-guesses", "0"), ("--max-guesses", "x"), ("word",)):
            done = subprocess.run([program("rill-sudoku"), *args], capture_output=True, timeout=PATIENCE, check=False,
                                  env=server_environment())
            self.assertEqual(done.returncode, 2, done)


class Ladder(SudokuTest):
    def test_a_bounded_queue_refuses_at_once(self):
        server = self.sudoku("--solve", "bounded", "--threads", 1, "--workers", 1, "--worker-queue", 2,
                             "--max-guesses", 4000000000)
        client = Solver(self, server)
        before = server.cpu_seconds()
        client.send("0:" + ENDLESS)
        wait_until(lambda: server.cpu_seconds() > before + 0.05, "the worker to begin")
        client.send(*(f"{number}:{ENDLESS}" for number in range(1, 20)))
        refused = client.read(17)  # one is being solved, two wait
        self.assertTrue(all(line.endswith(":ServerTooBusy") for line in refused), refused)
        other = Solver(self, server)
        self.assertEqual(other.ask(EASY), ["ServerTooBusy"])
        client.reset()  # nobody waits for those any more
        self.until_answered(other)

    def until_answered(self, client):
        deadline = time.monotonic() + PATIENCE
        while client.ask(EASY) != [EASY_SOLVED]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def test_what_nobody_waits_for_is_not_solved(self):
        """Each of these takes longer than the test may."""
        server = self.sudoku("--solve", "pool", "--threads", 2, "--workers", 2, "--max-guesses", 4000000000,
                             "--drain-timeout", "100ms")
        for how in ("reset", "close"):
            lost = [Solver(self, server) for unused in range(4)]
            for client in lost:
                client.send(*(f"{number}:{ENDLESS}" for number in range(20)))
            for client in lost:
                getattr(client, how)()
            if how == "reset":
                self.assertEqual(Solver(self, server).ask(EASY), [EASY_SOLVED])
        # Who only ends his stream waits for an answer, and so does who closed, as far as anybody knows.
        server.stop()

    def test_the_loop_goes_on_while_the_pool_works(self):
        server = self.sudoku("--solve", "pool", "--threads", 1, "--workers", 2, "--max-guesses", 4000000000)
        first, second = Solver(self, server), Solver(self, server)
        first.send("endless:" + ENDLESS)
        for unused in range(20):
            self.assertEqual(second.ask(EASY), [EASY_SOLVED])
        first.reset()


class Stopping(SudokuTest):
    def test_what_is_in_flight_is_answered(self):
        for mode in MODES:
            with self.subTest(mode):
                server = self.sudoku("--solve", mode, "--threads", 2, "--workers", 1, "--worker-queue", 100,
                                     "--max-guesses", 2000)
                client = Solver(self, server)
                client.send(*(f"{number}:{ENDLESS}" for number in range(30)))
                answers = client.read()
                server.signal(signal.SIGTERM)
                answers += client.read(29)
                self.assertEqual(sorted(answers), sorted(f"{number}:TooHard" for number in range(30)))
                self.assertTrue(client.at_end())
                server.wait_exit()
                server.stop()

    def test_every_line_that_came_is_answered(self):
        """Those that wait for their turn, because they have no ID, too."""
        for mode in MODES:
            server = self.sudoku("--solve", mode, "--threads", 1, "--workers", 1, "--max-guesses", 2000)
            client = Solver(self, server)
            client.send(*[ENDLESS] * 30)
            answers = client.read()
            server.signal(signal.SIGTERM)
            answers += client.read(29)
            self.assertEqual(set(answers) - {"TooHard", "ServerTooBusy"}, set())
            self.assertEqual(answers, sorted(answers, reverse=True))  # refused from some line on
            self.assertTrue(client.at_end())
            server.wait_exit()
            server.stop()

    def test_what_comes_meanwhile_is_refused(self):
        server = self.sudoku("--solve", "pool", "--threads", 1, "--workers", 2, "--max-guesses", 4000000000)
        client = Solver(self, server)
        client.send("endless:" + ENDLESS)
        server.signal(signal.SIGTERM)
        while client.ask("1:" + EASY) != ["1:ServerTooBusy"]:  # the signal may be a moment on its way
            time.sleep(0.01)
        client.reset()
        server.wait_exit()
        server.stop()

    def test_the_drain_timeout_ends_what_does_not_end(self):
        for mode in ("pool", "bounded"):
            server = self.sudoku("--solve", mode, "--threads", 2, "--workers", 2, "--max-guesses", 4000000000,
                                 "--drain-timeout", "100ms")
            clients = [Solver(self, server) for unused in range(4)]
            for client in clients:
                client.send(*(f"{number}:{ENDLESS}" for number in range(4)), ENDLESS, EASY)
            server.stop()

    def test_clients_that_come_and_go(self):
        rng = random.Random(1)
        server = self.sudoku("--solve", "pool", "--threads", 2, "--workers", 2, "--max-guesses", 300)
        for unused in range(100):
            client = Solver(self, server)
            client.send(*(f"{number}:{rng.choice((EASY, HARD, ENDLESS))}" for number in range(rng.randrange(1, 20))))
            if rng.random() < 0.5:
                client.read()
            getattr(client, rng.choice(("reset", "close")))()
        self.assertEqual(Solver(self, server).ask(EASY), [EASY_SOLVED])
