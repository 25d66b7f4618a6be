"""One run of scripts/compare: what it needs is installed and built, nobody else measures meanwhile, and what it found
is written down."""
import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import proc

HELPERS = Path(__file__).resolve().parent
TOP = HELPERS.parent.parent
OUT = TOP / "build" / "compare"


def say(text):
    print(text, file=sys.stderr, flush=True)


def prepare(build):
    """Installs, and with BUILD builds, what is missing, and clears what an earlier run left. Returns a lock, held until
    it is closed."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    proc.clean_up_at_exit()
    proc.raise_descriptor_limit()
    if build:
        for command in (["setup", "--for", "compare"], ["build", "release"]):
            done = subprocess.run([TOP / "scripts" / command[0], *command[1:]], check=False)
            if done.returncode != 0:
                sys.exit(done.returncode)
    OUT.mkdir(parents=True, exist_ok=True)
    lock = open(OUT / "lock", "w", encoding="ascii")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit("compare: another one runs in this checkout; two would measure each other")
    shutil.rmtree(OUT / "run", ignore_errors=True)
    (OUT / "run").mkdir()
    return lock


def compile_c(name, *sources, libraries=()):
    """Compiles a program of ours, of SOURCES in this folder; returns where it is."""
    program = OUT / name
    argv = ["cc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-pthread", "-o", str(program)]
    argv += [str(HELPERS / source) for source in sources] + [f"-l{library}" for library in libraries]
    if subprocess.run(argv, check=False).returncode != 0:
        sys.exit(f"compare: cannot compile scripts/compare.d/{sources[0]}")
    return program


def write_markdown(path, blocks, about):
    """BLOCKS: tables, and pairs of a title and plain text."""
    lines = ["Measured with `scripts/compare " + " ".join(sys.argv[1:]) + "`:", ""]
    lines += [f"- {line}" for line in about]
    for block in blocks:
        lines.append("")
        if isinstance(block, tuple):
            lines.append(f"### {block[0]}\n\n```\n{block[1].rstrip()}\n```")
        else:
            lines.append(block.markdown())
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")
