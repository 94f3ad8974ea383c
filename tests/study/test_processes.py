"""Processes that share tasks: none outlives the one that started them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import time
from pathlib import Path
from palate.study.processes import run_tasks

class Plan:
    def load(self):
        return None

def work(data, place):
    for _ in range(600):
        with open(place, "a") as stream:
            stream.write(".")
        time.sleep(0.05)

if __name__ == "__main__":
    run_tasks([FOLDER + "/one", FOLDER + "/other"], work, Plan(), None, jobs=2, title="waiting", quiet=True)
"""


def test_the_children_of_a_killed_process_end_too(tmp_path: Path) -> None:
    script, marks = tmp_path / "script.py", [tmp_path / "one", tmp_path / "other"]
    script.write_text(f"FOLDER = {str(tmp_path)!r}\n{SCRIPT}")
    started = subprocess.Popen([sys.executable, str(script)])
    try:
        patience = time.monotonic() + 120
        while not all(mark.exists() for mark in marks):
            assert started.poll() is None
            assert time.monotonic() < patience
            time.sleep(0.1)
    finally:
        started.kill()
        started.wait()
    still = -1
    # Whoever is left goes on writing; silence for a second is twenty times its pause.
    while (now := sum(mark.stat().st_size for mark in marks)) != still:
        assert now < 600, "a child went on without its parent"
        still = now
        time.sleep(1.0)
