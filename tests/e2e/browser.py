"""A headless Chromium, driven through chromedriver's HTTP interface (WebDriver, W3C)."""
import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request

from support import wait_until

DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")


class NoBrowser(Exception):
    """There is none, or none that starts here: which says nothing about what was to be looked at."""


class Browser:
    def __init__(self, width=1200, height=800):
        if not DRIVER or not CHROMIUM:
            raise NoBrowser("chromium and chromedriver are not there (scripts/setup --for browser)")
        self.folder = tempfile.mkdtemp(prefix="rill-e2e-browser-")
        self.output = tempfile.TemporaryFile()
        self.driver = subprocess.Popen([DRIVER, "--port=0"], stdin=subprocess.DEVNULL, stdout=self.output,
                                       stderr=subprocess.STDOUT, env=dict(os.environ, HOME=self.folder))
        self.session = None
        try:
            self.base = f"http://127.0.0.1:{wait_until(self._port, 'chromedriver to start', 60)}"
            args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                    f"--user-data-dir={self.folder}/profile", f"--window-size={width},{height}"]
            answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": {
                "browserName": "chrome", "goog:chromeOptions": {"binary": CHROMIUM, "args": args},
                "goog:loggingPrefs": {"browser": "ALL"}}}})
            self.session = answer["sessionId"]
        except (AssertionError, OSError, ValueError, KeyError) as error:
            self.close()
            raise NoBrowser(f"chromium does not start here: {error}") from None
        except BaseException:
            self.close()
            raise

    def _port(self):
        self.output.seek(0)
        found = re.search(rb"started successfully on port (\d+)", self.output.read())
        return int(found.group(1)) if found else None

    def _ask(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method,
                                         data=None if body is None else json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=90) as response:
            return json.load(response)["value"]

    def _in_session(self, path, **body):
        return self._ask("POST", f"/session/{self.session}{path}", body)

    def open(self, url):
        self._in_session("/url", url=url)

    def run(self, script):
        """What SCRIPT, the body of a function, returns in the page."""
        return self._in_session("/execute/sync", script=script, args=[])

    def emulate(self, command, **parameters):
        self._in_session("/goog/cdp/execute", cmd=command, params=parameters)

    def colours(self, scheme):
        self.emulate("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def size(self, width, height):
        self.emulate("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                     mobile=width < 600)

    def key(self, key):
        self._in_session("/actions", actions=[{"type": "key", "id": "keyboard", "actions": [
            {"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]}])

    def console(self):
        """What was written to the console since the last call: errors and warnings."""
        return [entry["message"] for entry in self._in_session("/se/log", type="browser")
                if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self):
        return base64.b64decode(self._ask("GET", f"/session/{self.session}/screenshot"))

    def close(self):
        try:
            if self.session:
                self._ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            try:
                self.driver.wait(10)
            except subprocess.TimeoutExpired:
                self.driver.kill()
                self.driver.wait()
            self.output.close()
            shutil.rmtree(self.folder, True)
