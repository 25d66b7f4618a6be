"""Processes: starting them so that they always end, and what the kernel says of them while they run.

Everything started here gets a session of its own and is killed as a group: when the caller is done with it, when
this program ends for whatever reason, and, should it be killed outright, by the kernel."""
import atexit
import ctypes
import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
_running = []


def raise_descriptor_limit():
    """Children inherit it: all that the machine allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def start(argv, cpus=None, **popen):
    """A process in a session of its own, bound to CPUS (a set) if given."""

    def in_child():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if cpus:
            os.sched_setaffinity(0, cpus)

    popen.setdefault("stdin", subprocess.DEVNULL)
    process = subprocess.Popen(argv, start_new_session=True, preexec_fn=in_child, **popen)
    _running.append(process)
    return process


def stop(process, grace_s=0.0):
    """Ends PROCESS and its group; with GRACE_S it is first asked with SIGTERM and given that long."""
    if grace_s and process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()
    if process in _running:
        _running.remove(process)


def stop_all():
    for process in list(_running):
        stop(process)


def _on_signal(number, _frame):
    raise SystemExit(128 + number)


def clean_up_at_exit():
    atexit.register(stop_all)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _on_signal)


def output_of(argv, timeout_s, cpus=None, env=None):
    """Runs ARGV to its end; returns (exit status, what it printed). A run past TIMEOUT_S raises TimeoutError."""
    process = start(argv, cpus, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    try:
        text, _ = process.communicate(timeout=timeout_s)
        return process.returncode, text
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"{argv[0]}: not done after {timeout_s:.0f} s") from None
    finally:
        stop(process)


def tree(pid):
    """PID and all its descendants."""
    found, todo = [], [pid]
    while todo:
        current = todo.pop()
        found.append(current)
        try:
            for task in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{task}/children", encoding="ascii") as file:
                    todo += [int(child) for child in file.read().split()]
        except OSError:
            pass
    return found


def pss_bytes(pid):
    """Proportional share of memory of PID and its descendants: what they hold in user space."""
    total = 0
    for current in tree(pid):
        try:
            with open(f"/proc/{current}/smaps_rollup", encoding="ascii") as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
        except OSError:
            pass
    return total


@dataclass
class CpuSample:
    at_s: float
    task_ns: dict  # thread id -> nanoseconds run
    user_s: float  # of the whole tree, sampled by the kernel's tick
    system_s: float
    busy_s: float  # all that ran on the server's CPUs, whoever's it was


@dataclass
class CpuUse:
    total_s: float
    user_s: float  # by the tick: its share of user_s + system_s is what is good for something
    system_s: float
    others_share: float  # of the CPUs' time, taken by processes that are no part of the server (or by the host)


def cpu_sample(pid, cpus):
    """The kernel counts a thread's run time by the nanosecond (schedstat) but divides it into user and system by
    looking at every tick, so both are kept."""
    tasks, user, system, tick = {}, 0, 0, os.sysconf("SC_CLK_TCK")
    for current in tree(pid):
        try:
            with open(f"/proc/{current}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            user, system = user + int(fields[11]), system + int(fields[12])
            for task in os.listdir(f"/proc/{current}/task"):
                with open(f"/proc/{current}/task/{task}/schedstat", encoding="ascii") as file:
                    tasks[int(task)] = int(file.read().split()[0])
        except OSError:
            pass
    return CpuSample(time.monotonic(), tasks, user / tick, system / tick, _busy_seconds(cpus))


def _busy_seconds(cpus):
    total = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *values = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
                user, nice, system, _idle, _iowait, irq, softirq, steal = (int(v) for v in values[:8])
                total += user + nice + system + irq + softirq + steal
    return total / os.sysconf("SC_CLK_TCK")


def cpu_use(before, after, cpu_count):
    user, system = after.user_s - before.user_s, after.system_s - before.system_s
    total = sum(ns - before.task_ns.get(task, 0) for task, ns in after.task_ns.items()) / 1e9
    if total <= 0 or not before.task_ns.keys() <= after.task_ns.keys():
        total = user + system  # a thread ended, and took its own count along
    wall = (after.at_s - before.at_s) * cpu_count
    others = max(0.0, after.busy_s - before.busy_s - total) / wall
    return CpuUse(total, user, system, others)
