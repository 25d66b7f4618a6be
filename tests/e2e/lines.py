"""A client of the programs that speak in lines."""
import socket

from support import PATIENCE


class LineClient:
    def __init__(self, test, server, receive_buffer=None):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", server.port))
        self.buffer = bytearray()
        test.addCleanup(self.socket.close)

    def send(self, *lines):
        self.socket.sendall("".join(line + "\n" for line in lines).encode())

    def line(self):
        """The next line without its end; None at the end of the stream."""
        while (end := self.buffer.find(b"\n")) < 0:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            except socket.timeout:
                raise AssertionError(f"no line came; so far {bytes(self.buffer[:200])!r}") from None
            if not data:
                if self.buffer:
                    raise AssertionError(f"half a line at the end: {bytes(self.buffer[:200])!r}")
                return None
            self.buffer += data
        text = bytes(self.buffer[:end]).decode()
        del self.buffer[:end + 1]
        return text

    def expect(self, *lines):
        for line in lines:
            found = self.line()
            if found != line:
                raise AssertionError(f"{found!r} came where {line!r} should have come")

    def until(self, line):
        """All lines before the one that is LINE, or that ends so when LINE begins with "..."."""
        before = []
        while (found := self.line()) != line:
            if found is None:
                raise AssertionError(f"the stream ended before {line!r}; it said {before[-5:]}")
            if line.startswith("...") and found.endswith(line[3:]):
                break
            before.append(found)
        return before
