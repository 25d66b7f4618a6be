"""File reads never block a reactor: a large file that is not in the page cache is downloaded while the latency of
another connection on the same, only reactor is measured."""
import multiprocessing
import os
import statistics
import time

from slow_disk import SlowDisk
from support import E2ETest, make_request, wait_until

SIZE = 96 << 20


def evict(path):
    """Puts the file out of the page cache. Returns whether at least half of it has gone: pages that a socket still
    refers to, or that wait in a CPU's list, stay."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        buffer = bytearray(4096)
        gone = 0
        for offset in range(0, SIZE, SIZE // 64):
            try:
                os.preadv(descriptor, [buffer], offset, os.RWF_NOWAIT)
            except BlockingIOError:
                gone += 1
        return gone >= 32
    except OSError:
        return False
    finally:
        os.close(descriptor)


class PageCache(E2ETest):
    serial = True

    def place(self):
        """A folder on a file system that has a disk below it, holding the large file."""
        for where in (os.environ.get("RILL_E2E_BIN"), "/var/tmp", None):
            try:
                root = self.folder(where)
            except OSError:
                continue
            with open(f"{root}/large", "wb") as file:
                for _ in range(SIZE >> 20):
                    file.write(os.urandom(1 << 20))
            if evict(f"{root}/large"):
                return root
            os.unlink(f"{root}/large")
        self.skipTest("no file system here lets go of a file's pages")

    def measure(self, server, busy):
        """Latencies of requests for a small file for as long as BUSY() says."""
        latencies = []
        with server.connect() as client:
            while busy():
                begin = time.perf_counter()
                self.assertEqual(client.request("GET", "/small").status, 200)
                latencies.append(time.perf_counter() - begin)
                time.sleep(0.0005)
        return latencies

    def download(self, server, target, size):
        """A process that downloads, so that it does not take Python's lock from the one that measures."""
        def run():
            with server.connect() as client:
                client.send(make_request("GET", target))
                client.read_head()
                left = size - len(client.buffer)
                buffer = bytearray(1 << 20)
                while left:
                    n = client.socket.recv_into(buffer)
                    if not n:
                        os._exit(1)
                    left -= n
        process = multiprocessing.get_context("fork").Process(target=run)
        process.start()
        return process

    def test_latency_beside_a_cold_download(self):
        root = self.place()
        with open(f"{root}/small", "wb") as file:
            file.write(b"small")
        server = self.httpd(root, "--threads", 0, "--access-log", "off")
        for name, rounds in (("alone", 0), ("warm", 3), ("cold", 3)):
            found = []
            for _ in range(max(rounds, 1)):
                if name == "cold":
                    wait_until(lambda: evict(f"{root}/large"), "the file to leave the page cache")
                elif name == "warm":
                    with open(f"{root}/large", "rb") as file:
                        while file.read(1 << 20):
                            pass
                if rounds:
                    process = self.download(server, "/large", SIZE)
                    found += self.measure(server, process.is_alive)
                    process.join()
                    self.assertEqual(process.exitcode, 0, "broken off")
                else:
                    end = time.monotonic() + 1
                    found += self.measure(server, lambda: time.monotonic() < end)
            found.sort()
            print(f"     latency {name}: median {statistics.median(found) * 1e6:.0f} us, "
                  f"p99 {found[len(found) * 99 // 100] * 1e6:.0f} us, worst {found[-1] * 1e6:.0f} us ({len(found)} requests)")

    def test_a_disk_that_takes_half_a_second_for_everything(self):
        root = self.folder()
        content = os.urandom(700_000)  # six reads
        try:
            disk = SlowDisk(root, {"small": b"small", "slow": content}, 0.5)
        except OSError as error:
            self.skipTest(f"cannot mount a file system of our own: {error}")
        self.addCleanup(disk.close)
        server = self.httpd(root, "--threads", 0, "--access-log", "off")
        self.assertEqual(server.get("/small").body, b"small")
        begin = time.monotonic()
        process = self.download(server, "/slow", len(content))
        found = self.measure(server, process.is_alive)
        took = time.monotonic() - begin
        process.join()
        self.assertEqual(process.exitcode, 0, "broken off")
        found.sort()
        print(f"     latency beside a disk of 500 ms: median {statistics.median(found) * 1e6:.0f} us, "
              f"worst {found[-1] * 1e6:.0f} us ({len(found)} requests in {took:.1f} s)")
        self.assertGreater(took, 1.5, "the disk was not slow")
        # A reactor that waits for the disk answers once or twice in each half second.
        self.assertGreater(len(found), 6 * took)
        self.assertEqual(server.get("/slow").body, content)
        server.stop()  # before the file system goes
