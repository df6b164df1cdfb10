"""A Python that has imported everything once: each process to be killed is forked from it, which saves ten seconds.

Run as a script it is that Python. It reads an order a line, as JSON: `{"start": code, "argv": [...], "stderr": path}`
forks a process that runs the code and answers its id; `{"wait": id, "flags": n}` answers its exit code, null till then.
It has not used a second thread before it forks: OpenMP hangs in a child of one that has.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path


class Warm:
    """The Python with everything imported; one for all tests of a worker."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).resolve())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def start(self, code: str, *argv: str, stderr: Path | None = None) -> Forked:
        """Run the code in a process of its own, as `python -c code argv...` does."""
        return Forked(self, self.ask(start=code, argv=argv, stderr=str(stderr or os.devnull)))

    def ask(self, **order: object) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer: int = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        self.process.communicate()


class Forked:
    """One process: what subprocess.Popen can do, as far as the tests need it."""

    def __init__(self, warm: Warm, pid: int) -> None:
        self.warm, self.pid = warm, pid
        self.returncode: int | None = None

    def poll(self, flags: int = os.WNOHANG) -> int | None:
        if self.returncode is None:
            self.returncode = self.warm.ask(wait=self.pid, flags=flags)
        return self.returncode

    def wait(self) -> int | None:
        return self.poll(0)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve() -> None:
    import torch

    from structure.cli import main  # noqa: F401
    from structure.pipeline import encoders
    from structure.pipeline.recipe import running  # noqa: F401

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("vit", "text"):
        encoders.load_encoder(f"bundled:scenes-{name}")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            pid, status = os.waitpid(order["wait"], order["flags"])
            print(json.dumps(os.waitstatus_to_exitcode(status) if pid else None), flush=True)
            continue
        pid = os.fork()
        if not pid:
            torch.set_num_threads(threads)
            begin(order["start"], order["argv"], order["stderr"])
        print(json.dumps(pid), flush=True)


def begin(code: str, argv: list[str], stderr: str) -> None:
    """In the child: run the code, and leave as Python does."""
    nothing, told = os.open(os.devnull, os.O_RDWR), os.open(stderr, os.O_WRONLY | os.O_CREAT)
    for number, target in enumerate((nothing, nothing, told)):
        os.dup2(target, number)
    sys.argv = ["-c", *argv]
    left = 0
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as leaving:
        left = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
        left = 1
    sys.stderr.flush()
    os._exit(left)


if __name__ == "__main__":
    serve()
