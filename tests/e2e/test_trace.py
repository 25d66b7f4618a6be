"""--trace: the file is what trace viewers read, and tells of each sampled request what happened to it, in order."""
import collections
import json
import os
import re
import signal
import subprocess
import tempfile

from support import E2ETest, program, server_environment, wait_until

SLICES = {"accept", "adopt", "read", "on_data", "parse", "handler", "pool run", "pool done", "write"}
WAITS = {"hand-off", "wake-up", "pool wait", "request"}

# The Trace Event Format, as far as it is used: the members that an event of each phase has to have, and no others.
COMMON = {"ph", "name", "pid"}
MEMBERS = {
    "M": COMMON | {"args"},
    "X": COMMON | {"cat", "tid", "ts", "dur", "args"},
    "b": COMMON | {"cat", "tid", "ts", "id"},
    "e": COMMON | {"cat", "tid", "ts", "id"},
    "s": COMMON | {"cat", "tid", "ts", "id"},
    "t": COMMON | {"cat", "tid", "ts", "id"},
    "i": COMMON | {"cat", "tid", "ts", "s", "args"},
}
METADATA = {"process_name": "name", "thread_name": "name", "thread_sort_index": "sort_index"}

Part = collections.namedtuple("Part", "name thread began ended")


def load(path, cut=False):
    """The events of PATH; with CUT it may end as a killed program leaves it."""
    with open(path, encoding="ascii") as file:
        text = file.read()
    # Nanoseconds, whole: as floating-point numbers they would not keep their last digit.
    text = re.sub(r'"(ts|dur)":(\d+)\.(\d{3})', lambda m: f'"{m[1]}":{int(m[2] + m[3])}', text)
    return json.loads(text + "\n]" if cut else text)


class Trace(E2ETest):
    threaded = True

    def path(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return os.path.join(folder.name, "trace.json")

    def requests(self, events):
        """What is told of each request, by its id: its parts by their beginning, after checking all events' form."""
        threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        found, open_waits, flows = collections.defaultdict(list), collections.defaultdict(list), {}
        self.assertEqual(len({e["pid"] for e in events}), 1)
        self.check_form(events)
        for e in events:
            if e["ph"] == "X":
                self.assertIn(e["name"], SLICES)
                self.assertGreaterEqual(e["dur"], 0)
                found[e["args"]["request"]].append(Part(e["name"], threads[e["tid"]], e["ts"], e["ts"] + e["dur"]))
            elif e["ph"] == "b":
                self.assertIn(e["name"], WAITS)
                open_waits[e["id"], e["name"]].append(e["ts"])
            elif e["ph"] == "e":
                began = open_waits[e["id"], e["name"]].pop()
                self.assertGreaterEqual(e["ts"], began)
                found[e["id"]].append(Part(e["name"], threads[e["tid"]], began, e["ts"]))
            elif e["ph"] in ("s", "t"):
                flows.setdefault(e["id"], []).append((e["ts"], e["ph"]))
            else:
                self.assertIn(e["ph"], ("M", "i"))
        self.assertFalse(any(open_waits.values()))
        self.assertEqual(set(flows), set(found))
        for steps in flows.values():
            self.assertEqual([phase for _, phase in sorted(steps)], ["s"] + ["t"] * (len(steps) - 1))
        self.check_nesting(events)
        return {key: sorted(parts, key=lambda p: (p.began, -p.ended)) for key, parts in found.items()}

    def check_form(self, events):
        """Each event by itself is what the format asks for, and comes after what names its track."""
        named, slices, ended = set(), set(), collections.defaultdict(int)
        self.assertEqual((events[0]["ph"], events[0]["name"]), ("M", "process_name"))
        for e in events:
            optional = {"M": {"cat", "tid", "ts"}}.get(e["ph"], set())
            self.assertEqual(set(e) - optional, MEMBERS[e["ph"]], e)
            for member in ("pid", "tid", "ts", "dur"):
                self.assertIs(type(e.get(member, 0)), int, e)
                self.assertGreaterEqual(e.get(member, 0), 0, e)
            if e["ph"] == "M":
                self.assertEqual(list(e["args"]), [METADATA[e["name"]]])
                if e["name"] == "thread_name":
                    self.assertNotIn(e["tid"], named, "a track has one name")
                    named.add(e["tid"])
                continue
            if e["ph"] != "i":
                self.assertIn(e["tid"], named, "events of a track that nobody named")
                self.assertRegex(e.get("id", "0x1"), r"^0x[0-9a-f]+$")
            if e["ph"] == "X":
                self.assertGreaterEqual(e["ts"] + e["dur"], ended[e["tid"]], "a thread tells what it did in order")
                ended[e["tid"]] = e["ts"] + e["dur"]
                slices.add((e["tid"], e["ts"], e["args"]["request"]))
            elif e["ph"] in ("s", "t"):
                self.assertIn((e["tid"], e["ts"], e["id"]), slices, "an arrow leads to a slice")
            elif e["ph"] == "i":
                self.assertIn(e["s"], ("g", "p", "t"))

    def check_nesting(self, events):
        """The slices of a thread lie within each other, or after each other."""
        by_thread = collections.defaultdict(list)
        for e in events:
            if e["ph"] == "X":
                by_thread[e["tid"]].append((e["ts"], -e["dur"]))
        for slices in by_thread.values():
            stack = []
            for began, minus_duration in sorted(slices):
                while stack and stack[-1] <= began:
                    stack.pop()
                if stack:
                    self.assertLessEqual(began - minus_duration, stack[-1])
                stack.append(began - minus_duration)

    def the(self, parts, name):
        matching = [p for p in parts if p.name == name]
        self.assertEqual(len(matching), 1, f"{name} in {parts}")
        return matching[0]

    def check_order(self, parts, *names):
        """Each of these ends before the next begins."""
        for before, after in zip(names, names[1:]):
            self.assertLessEqual(self.the(parts, before).ended, self.the(parts, after).began, f"{before} {after}")

    def check_within(self, parts, outer, *names):
        whole = self.the(parts, outer)
        for name in names:
            part = self.the(parts, name)
            self.assertLessEqual(whole.began, part.began, name)
            self.assertLessEqual(part.ended, whole.ended, name)

    def dropped(self, events):
        return events[-1]["args"]["dropped"]

    def test_from_accept_to_write(self):
        path = self.path()
        server = self.hello("--threads", 2, "--trace", path, "--trace-sample", 1)
        for _ in range(4):
            self.assertEqual(server.get("/hello").status, 200)
        server.stop()
        events = load(path)
        self.assertEqual(self.dropped(events), 0)
        requests = self.requests(events)
        self.assertEqual(len(requests), 4)
        loops = set()
        for parts in requests.values():
            self.check_order(parts, "hand-off", "wake-up", "read", "parse", "handler", "write")
            self.check_order(parts, "wake-up", "adopt")
            self.check_order(parts, "read", "on_data", "write")
            self.check_within(parts, "on_data", "parse", "handler")
            self.check_within(parts, "request", "hand-off", "wake-up", "read", "on_data", "write")
            self.assertEqual(self.the(parts, "request").began, self.the(parts, "accept").began)
            self.assertEqual(self.the(parts, "accept").thread, "main")
            on_loop = {self.the(parts, name).thread for name in ("adopt", "read", "on_data", "handler", "write")}
            self.assertEqual(len(on_loop), 1)
            loops |= on_loop
        self.assertEqual(loops, {"reactor-0", "reactor-1"})

    def test_through_the_pool(self):
        path = self.path()
        server = self.hello("--threads", 1, "--trace", path, "--trace-sample", 1)
        with server.connect() as client:
            for text in ("a", "b", "c"):
                self.assertEqual(client.request("GET", "/hash/" + text).status, 200)
            self.assertEqual(client.request("GET", "/sleep/3").status, 200)
        server.stop()
        requests = list(self.requests(load(path)).values())
        self.assertEqual(len(requests), 4)
        for parts in requests[:3]:
            run = self.the(parts, "pool run")
            self.assertRegex(run.thread, "^worker-[0-3]$")
            self.check_order(parts, "read", "parse", "pool wait", "pool run", "pool done", "write")
            self.check_within(parts, "request", "pool wait", "pool run", "pool done", "write")
            self.assertLessEqual(max(p.began for p in parts if p.name == "wake-up"),
                                 self.the(parts, "pool done").began)
            self.assertEqual(len([p for p in parts if p.name == "handler"]), 2)
        first, second = [p for p in requests[3] if p.name == "handler"]
        self.assertGreaterEqual(second.began - first.began, 2_000_000)  # the loop's clock counts whole ms of its turns

    def test_one_in_n(self):
        path = self.path()
        server = self.hello("--threads", 1, "--trace", path, "--trace-sample", 5)
        with server.connect() as client:
            for _ in range(21):
                self.assertEqual(client.request("GET", "/").status, 200)
        server.stop()
        requests = self.requests(load(path))
        accepted = [parts for parts in requests.values() if any(p.name == "accept" for p in parts)]
        self.assertEqual(len(accepted), 1)
        self.assertEqual(len(requests), 1 + 4)  # of the 20 after the first, which goes with the connection

    def test_everything_at_the_main_reactor(self):
        path = self.path()
        server = self.hello("--threads", 0, "--trace", path, "--trace-sample", 1)
        self.assertEqual(server.get("/hash/x").status, 200)
        server.stop()
        (parts,) = self.requests(load(path)).values()
        self.check_within(parts, "accept", "adopt")
        self.check_order(parts, "read", "pool wait", "pool run", "pool done", "write")
        self.assertEqual({p.thread for p in parts if not p.name.startswith("pool")}, {"main"})

    def test_each_loop_accepts(self):
        path = self.path()
        server = self.hello("--threads", 2, "--accept", "reuseport", "--trace", path, "--trace-sample", 1)
        for _ in range(8):
            self.assertEqual(server.get("/").status, 200)
        server.stop()
        requests = self.requests(load(path))
        self.assertEqual(len(requests), 8)
        for parts in requests.values():
            self.assertEqual(len({p.thread for p in parts}), 1)
            self.check_within(parts, "accept", "adopt")
            self.check_order(parts, "read", "on_data", "write")

    def test_a_protocol_of_its_own(self):
        path = self.path()
        server = self.start("rill-echo", "--threads", 1, "--trace", path, "--trace-sample", 1)
        with server.connect() as client:
            for word in (b"one", b"two", b"three"):
                client.send(word)
                self.assertEqual(client.read_bytes(len(word)), word)
        server.stop()
        requests = self.requests(load(path))
        self.assertEqual(len(requests), 3)
        for parts in requests.values():
            self.check_order(parts, "read", "on_data", "write")

    def test_a_killed_server_leaves_what_can_be_loaded(self):
        path = self.path()
        server = self.hello("--threads", 1, "--trace", path, "--trace-sample", 1)
        self.assertEqual(server.get("/").status, 200)

        def written():  # the last of its loop's and of the main loop's, each with all that is before it
            with open(path, encoding="ascii") as file:
                text = file.read()
            return '"adopt"' in text and '"accept"' in text and text.endswith("}")

        wait_until(written, "the request to be in the file")
        server.signal(signal.SIGKILL)
        server.wait_exit()
        server.stopped = True
        server.errors.close()
        self.assertEqual(len(self.requests(load(path, cut=True))), 1)

    def test_off_there_is_no_file_and_no_thread(self):
        path = self.path()
        server = self.hello("--threads", 1)
        self.assertEqual(server.get("/").status, 200)
        names = [open(f"/proc/{server.pid}/task/{i}/comm", encoding="ascii").read().strip()
                 for i in server.thread_ids()]
        self.assertNotIn("trace", names)
        server.stop()
        self.assertEqual(os.listdir(os.path.dirname(path)), [])

    def test_a_file_that_cannot_be_written_ends_the_start(self):
        done = subprocess.run([program("rill-hello"), "--listen", "127.0.0.1:0", "--trace", "/nonexistent/trace.json"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False,
                              env=server_environment())
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, "cannot trace to /nonexistent/trace.json: No such file or directory; choose a file")
