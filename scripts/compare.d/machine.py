"""What was measured on: printed above every set of tables."""
import os
import platform
import re
import subprocess


def _first_line(argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
        return (done.stdout + done.stderr).strip().splitlines()[0]
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return ""


def _version(argv):
    match = re.search(r"\d+\.\d+[\w.]*", _first_line(argv))
    return match.group(0) if match else "?"


HTTP = {"nginx": ["nginx", "-v"], "h2o": ["h2o", "-v"], "lighttpd": ["lighttpd", "-v"], "wrk": ["wrk", "-v"]}
NET = {"libevent": ["pkg-config", "--modversion", "libevent"], "libuv": ["pkg-config", "--modversion", "libuv"],
       "haproxy": ["haproxy", "-v"], "memcached": ["memcached", "-V"]}  # fmt: skip


def describe(programs):
    """Two lines: the machine, and the versions of PROGRAMS ({name: command that prints it})."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.+)", file.read())
    with open("/etc/os-release", encoding="utf-8") as file:
        system = re.search(r'PRETTY_NAME="?([^"\n]+)', file.read())
    return [
        f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, "
        f"{system.group(1) if system else '?'}",
        ", ".join(f"{name} {_version(argv)}" for name, argv in programs.items()),
    ]
