"""How the scripts of this folder time a command."""

import collections
import os
import subprocess
import sys
import time

# Seconds on the clock, seconds of all processors, peak anonymous memory in MiB.
Run = collections.namedtuple("Run", "seconds processor peak")


def _children():
    t = os.times()
    return t.children_user + t.children_system


def timed(command, env=None, ok=(0,)):
    """Run a command; leave with its status if that is not a good one."""
    used, start = _children(), time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env)
    peak = 0
    while child.poll() is None:
        try:
            with open(f"/proc/{child.pid}/status") as f:
                peak = max([peak] + [int(line.split()[1]) for line in f if line.startswith("RssAnon:")])
        except OSError:
            pass
        time.sleep(0.005)
    seconds = time.perf_counter() - start
    if child.returncode not in ok:
        sys.exit(f"{' '.join(command)}: exit {child.returncode}")
    return Run(seconds, _children() - used, peak / 1024)


def sync():
    subprocess.run(["sync"], check=True)


def size(folder):
    return sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder))
