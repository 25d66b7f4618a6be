"""A file system whose every look-up, open and read takes its time: the kernel's side of FUSE spoken by hand, in a
process of its own. Needs /dev/fuse and the right to mount."""
import ctypes
import errno
import os
import signal
import stat
import struct
import threading
import time

LOOKUP, FORGET, GETATTR, OPEN, READ, STATFS, RELEASE, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, \
    BATCH_FORGET = 1, 2, 3, 14, 15, 17, 18, 25, 26, 27, 28, 29, 34, 36, 38, 42
MS_RDONLY, MS_NOSUID, MS_NODEV, MNT_DETACH = 1, 2, 4, 2

libc = ctypes.CDLL(None, use_errno=True)


class SlowDisk:
    """FILES: name to contents. A name that begins with "slow" takes SECONDS for each look-up, open and read of (at
    most) 128 KiB."""

    def __init__(self, folder, files, seconds):
        self.folder, self.seconds = folder, seconds
        self.files = list(files.items())
        self.device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)  # OSError: not to be had
        options = f"fd={self.device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()},allow_other"
        if libc.mount(b"rill-slow", folder.encode(), b"fuse", MS_RDONLY | MS_NOSUID | MS_NODEV, options.encode()) != 0:
            number = ctypes.get_errno()
            os.close(self.device)
            raise OSError(number, os.strerror(number))
        self.child = os.fork()
        if self.child == 0:
            try:
                signal.alarm(100)
                self.serve()
            finally:
                os._exit(0)
        os.close(self.device)

    def close(self):
        os.kill(self.child, signal.SIGKILL)
        os.waitpid(self.child, 0)
        libc.umount2(self.folder.encode(), MNT_DETACH)

    # --- the child ---

    def serve(self):
        while True:
            try:
                data = os.read(self.device, 1 << 18)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return
            opcode, unique, node = struct.unpack_from("<4xIQQ", data)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            threading.Thread(target=self.answer, args=(opcode, unique, node, data[40:]), daemon=True).start()

    def answer(self, opcode, unique, node, payload):
        try:
            body, error = self.handle(opcode, node, payload), 0
        except OSError as failure:
            body, error = b"", -failure.errno
        try:
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
        except OSError:
            pass

    def wait(self, node):
        if node > 1 and self.files[node - 2][0].startswith("slow"):
            time.sleep(self.seconds)

    def attributes(self, node):
        mode, size = (stat.S_IFDIR | 0o755, 0) if node == 1 else (stat.S_IFREG | 0o644, len(self.files[node - 2][1]))
        return struct.pack("<6Q10I", node, size, (size + 511) // 512, 1600000000, 1600000000, 1600000000, 0, 0, 0, mode, 1, 0, 0, 0,
                           4096, 0)

    def handle(self, opcode, node, payload):
        if opcode == INIT:
            return struct.pack("<4I2H2I2HI28x", 7, 31, 131072, 1, 64, 48, 131072, 1, 32, 0, 0)
        if opcode == LOOKUP:
            name = payload.split(b"\0", 1)[0].decode()
            names = [n for n, unused in self.files]
            if name not in names:
                raise OSError(errno.ENOENT, "")
            found = names.index(name) + 2
            self.wait(found)
            return struct.pack("<4Q2I", found, 1, 0, 0, 0, 0) + self.attributes(found)
        if opcode == GETATTR:
            return struct.pack("<Q2I", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            self.wait(node)
            return struct.pack("<Q2I", node, 0, 0)
        if opcode == READ:
            self.wait(node)
            offset, size = struct.unpack_from("<8xQI", payload)
            return self.files[node - 2][1][offset:offset + size]
        if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, READDIR, DESTROY):
            return b""
        if opcode == STATFS:
            return struct.pack("<5Q4I24x", 1000, 0, 0, 10, 0, 4096, 255, 4096, 0)
        raise OSError(errno.ENOSYS, "")
