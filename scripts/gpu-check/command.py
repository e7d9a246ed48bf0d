"""Runs commands with a time limit and logs their output."""

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

# Seconds needed after a command was cut off: for two attempts to end it, and for the report.
RESERVE = 25
PATIENCE = 8  # seconds of each attempt

# Limits in bytes: the beginning and the end of a command's output in the log; the size of the log, and its size after
# shortening.
FIRST, LAST = 200_000, 300_000
LOG_LIMIT, LOG_KEEP = 14 << 20, 8 << 20


class Failed(Exception):
    """A part failed. The text goes into the report."""


class OutOfTime(Exception):
    """The time of --minutes is up. The text, if any, names the command that was cut off."""


@dataclass
class Output:
    """The result of a command."""

    code: int
    text: str
    seconds: float


class Runner:
    """Runs commands one at a time, until a deadline."""

    def __init__(self, work, minutes):
        self.work, self.log = work, work / "commands.log"
        self.deadline = time.monotonic() + 60 * minutes if minutes else float("inf")

    def left(self):
        """Seconds left for commands."""
        return self.deadline - RESERVE - time.monotonic()

    def run(self, command, seconds, environment, cwd=None):
        """Runs a command for `seconds` at most. Afterwards it and its children have ended."""
        left = self.left()
        if left < 10:
            raise OutOfTime
        line = shlex.join(map(str, command))
        print("  $", line if len(line) < 200 else line[:150] + " ... " + line[-45:], flush=True)
        said, start, code, cut = self.work / "running.log", time.monotonic(), "cannot start", False
        try:
            with open(said, "wb") as file:
                process = subprocess.Popen(
                    command,
                    cwd=cwd or self.work,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
                code = "interrupted"
                try:
                    cut = still_runs_after(process, min(seconds, left))
                finally:  # after an interrupt, too, the whole session ends
                    stop(process)
            code = "cut off" if cut else process.returncode
        except OSError as error:
            raise Failed(f"cannot start `{line}`: {error}") from error
        finally:
            took = time.monotonic() - start
            self.keep(f"$ {line}\n", said.read_bytes(), f"\n[{code}, {took:.1f} s]\n\n")
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", said.read_text(errors="replace"))
        if cut and seconds > left:
            raise OutOfTime(f"`{line}` was cut off:\n\n{quote(last(text, 30))}")
        if cut:
            raise Failed(f"`{line}` took longer than its limit of {seconds} s\n\n{quote(excerpt(text))}")
        return Output(process.returncode, text, took)

    def keep(self, head, said, foot):
        """Appends to the log. A log that is too long loses its oldest commands."""
        if len(said) > FIRST + LAST:
            said = said[:FIRST] + b"\n[... left out ...]\n" + said[-LAST:]
        with open(self.log, "ab") as file:
            file.write(head.encode() + said + foot.encode())
        if self.log.stat().st_size > LOG_LIMIT:
            newest = self.log.read_bytes()[-LOG_KEEP:]
            self.log.write_bytes(b"[earlier commands left out]\n" + newest[newest.find(b"\n$ ") + 1 :])


def still_runs_after(process, seconds):
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        return True


def stop(process):
    """Ends a command and its children. mpirun ends its ranks on SIGTERM. Processes that ignore it or were left behind
    are killed."""
    if process.poll() is None:
        signal_all([process.pid], signal.SIGTERM)
        still_runs_after(process, PATIENCE)
    for _ in range(3):  # again for processes that were started meanwhile
        family = session(process.pid)
        if not family:
            break
        signal_all(family, signal.SIGKILL)
        time.sleep(0.1)
    still_runs_after(process, PATIENCE)


def signal_all(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def session(leader):
    """The process ids of a session. Ranks have process groups of their own, but stay in the session. Zombies are left
    out."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses can contain any character. After it: state, parent, group, session.
            state, _, _, its_session = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(its_session) == leader and state not in "ZX":
            members.append(int(stat.parent.name))
    return members


def excerpt(text, lines=150):
    """The text from the first line that looks like a failure, and the end of the text if that is far from it."""
    every = text.rstrip().splitlines()
    first = next((i for i, line in enumerate(every) if re.search("panicked|error|traceback", line, re.I)), None)
    if first is None or len(every) - first <= lines:
        return last(text, lines if first is None else len(every) - max(0, first - 5))
    start = max(0, first - 5)
    return "\n".join([*every[start : start + lines - 20], "[...]", *every[-20:]])


def last(text, lines):
    return "\n".join(text.rstrip().splitlines()[-lines:])


def quote(text, language="text"):
    return f"```{language}\n{text.rstrip()}\n```"
