"""File reads never block a reactor: a large file that is not in the page cache is downloaded while the latency of
another connection on the same, only reactor is measured."""
import os
import statistics
import threading
import time

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

    def measure(self, server, stop):
        latencies = []
        with server.connect() as client:
            while not stop.is_set():
                begin = time.perf_counter()
                self.assertEqual(client.request("GET", "/small").status, 200)
                latencies.append(time.perf_counter() - begin)
                time.sleep(0.0005)
        return latencies

    def download(self, server, clients):
        for client in clients:
            client.send(make_request("GET", "/large"))
        buffer = bytearray(1 << 20)
        for client in clients:
            client.read_head()
            left = SIZE - len(client.buffer)
            client.buffer.clear()
            while left:
                n = client.socket.recv_into(buffer)
                self.assertTrue(n, "broken off")
                left -= n

    def test_latency_beside_a_cold_download(self):
        root = self.place()
        with open(f"{root}/small", "wb") as file:
            file.write(b"small")
        server = self.httpd(root, "--threads", 0, "--access-log", "off")
        for name, rounds in (("alone", 0), ("warm", 3), ("cold", 3)):
            found = []
            for _ in range(max(rounds, 1)):
                if name == "cold":
                    wait_until(lambda: evict(f"{root}/large"), "the file to leave the page cache", 5)
                elif name == "warm":
                    with open(f"{root}/large", "rb") as file:
                        while file.read(1 << 20):
                            pass
                stop = threading.Event()
                result = []
                join = self.in_background(lambda: result.extend(self.measure(server, stop)))
                if rounds:
                    with server.connect() as client:
                        self.download(server, [client])
                else:
                    time.sleep(1)
                stop.set()
                join()
                found += result
            found.sort()
            print(f"     latency {name}: median {statistics.median(found) * 1e6:.0f} us, "
                  f"p99 {found[len(found) * 99 // 100] * 1e6:.0f} us, worst {found[-1] * 1e6:.0f} us ({len(found)} requests)")
            self.assertLess(statistics.median(found), 0.1)
            self.assertLess(found[-1], 3.0)
