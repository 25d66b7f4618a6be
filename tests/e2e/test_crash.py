"""What a program says before it dies of a signal."""
import resource
import signal

from support import E2ETest


class Crash(E2ETest):
    def test_report_and_signal(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))  # the program inherits it
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, (soft, hard))
        logs = self.folder()
        server = self.start("rill-hello", "--threads", 1, error_log=f"{logs}/error.log")
        self.assertEqual(server.get("/").status, 200)
        server.signal(signal.SIGABRT)  # which no sanitizer takes for itself
        self.assertEqual(server.wait_exit(), -signal.SIGABRT)
        server.stopped = True  # in no orderly way
        with open(f"{logs}/error.log") as file:
            logged = file.read()
        for text in (server.stderr(), logged):
            self.assertRegex(text, r"rill: crash: SIGABRT on thread rill-hello \(\d+\), loop main\n")
            self.assertRegex(text, r"rill: crash: backtrace:\n.*\[0x[0-9a-f]+\]\n")
