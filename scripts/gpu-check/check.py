#!/usr/bin/env python3
"""Checks regun on a machine with a GPU. `make gpu-check` packs this command into its bundle.

    python3 gpu-check/check.py [--work DIR] [--report DIR] [--minutes N] [--only PART,PART] [--again]

Needs this folder, an NVIDIA GPU, and a Python with torch 2.11 (and torchvision, for one program of the speed
comparison). It needs no compiler, MPI or network. The exit code is 1 if a part failed. Writes, below --work,

    report.md       the results up to the last part, test or method that ended
    commands.log    every command with its output (a long output without its middle)
    state.json      the parts that are done

Parts that succeeded are not run again, and trained models are not trained again. If the time was up or a command was
cut off, the same command continues the check. Results of another version of the programs are moved aside first.
"""

import argparse
import hashlib
import json
import shutil
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import parts
import trainings
from command import Failed, OutOfTime, Runner, excerpt, quote
from machine import BUNDLE, IMAGES, foreign_environment, own_environment

PARTS = [
    parts.machine, parts.tests, parts.speed, trainings.table, trainings.memory, parts.ranks, parts.rank_tests,
    parts.overlap,
]  # fmt: skip
NAMES = [part.__name__ for part in PARTS]


@dataclass
class Check:
    """State that all parts share."""

    work: Path
    gpu: str | None  # its name
    runner: Runner
    own: dict  # environment of the bundle's programs
    foreign: dict  # environment of other programs
    # Of the current part: the lines of its section, its results so far, the function that writes both to disk.
    lines: list = field(default_factory=list)
    kept: dict = field(default_factory=dict)
    save: object = None
    # The reason why MPS is not used; true once MPS has worked.
    no_mps: str | None = None
    mps_proven: bool = False

    def say(self, text=""):
        self.lines.append(text)

    def block(self, text, language="text"):
        self.say(f"\n{quote(text, language)}\n")

    def keep(self, name, value):
        self.kept[name] = value
        self.save()

    def needs_gpu(self):
        if self.gpu is None:
            raise Failed("no GPU")

    def regun(self, *arguments):
        return [str(BUNDLE / "bin" / "regun"), *arguments]

    def run(self, command, seconds, cwd=None, own=True, more=None):
        """Runs a command, for `seconds` at most."""
        environment = {**(self.own if own else self.foreign), **(more or {})}
        return self.runner.run(command, seconds, environment, cwd)

    def must(self, command, seconds, **options):
        """Runs a command like `run`. Raises Failed unless its exit code is 0."""
        output = self.run(command, seconds, **options)
        if output.code:
            raise Failed(f"`{' '.join(command)}` ended with code {output.code}\n\n{quote(excerpt(output.text))}")
        return output


def digest_of_bundle():
    """A digest of the programs, and of the size of the images if there are any."""
    digest = hashlib.sha256()
    for file in sorted([*(BUNDLE / "bin").iterdir(), *(BUNDLE / "benches").glob("*.py")]):
        digest.update(file.read_bytes())
    digest.update(str(IMAGES.stat().st_size if IMAGES.exists() else None).encode())
    return digest.hexdigest()


class State:
    """The results so far, on disk."""

    def __init__(self, work, copies):
        self.work, self.copies = work, copies
        self.program = digest_of_bundle()
        self.parts = {}
        file = work / "state.json"
        if file.exists():
            found = json.loads(file.read_text())
            if found.get("program") == self.program:
                self.parts = found["parts"]
            else:
                self.set_aside(found.get("program", "program"))

    def result(self, part):
        return self.parts.get(part.__name__, {}).get("result")

    def set_aside(self, program):
        """Moves the results and trained models of another version of the programs to a folder of their own."""
        number = sum(1 for _ in self.work.glob("earlier-*"))
        folder = trainings.fresh(self.work / f"earlier-{number}-{program[:12]}")
        for name in ["state.json", "report.md", "commands.log", "table", "table-cache"]:
            if (self.work / name).exists():
                (self.work / name).rename(folder / name)

    def write(self):
        text = json.dumps({"program": self.program, "parts": self.parts}, indent=1)
        for path, content in [(self.work / "state.json", text), (self.work / "report.md", report(self.parts))]:
            part = path.with_name(path.name + ".part")  # so that the file is always complete
            part.write_text(content)
            part.replace(path)
        if self.copies:
            self.copies.mkdir(parents=True, exist_ok=True)
            for name in ["state.json", "report.md", "commands.log"]:
                if (self.work / name).exists():
                    shutil.copy(self.work / name, self.copies / name)


def report(found):
    lines = ["# regun on a GPU", "", "| part | result | seconds |", "| --- | --- | --- |"]
    for name in NAMES:
        part = found.get(name, {"result": "not run", "seconds": ""})
        lines.append(f"| {name} | {part['result']} | {part['seconds']} |")
    for part in PARTS:
        if part.__name__ in found:
            about = "\n\n".join(" ".join(paragraph.split()) for paragraph in part.__doc__.split("\n\n"))
            lines += ["", f"## {part.__name__}", "", about, "", found[part.__name__]["text"]]
    return "\n".join(lines) + "\n"


def run_part(part, check, state, again):
    name, start = part.__name__, time.monotonic()
    print(f"{name} ...", flush=True)
    check.lines, check.kept = [], {} if again else state.parts.get(name, {}).get("kept", {})

    def save(result="not finished"):
        seconds = round(time.monotonic() - start, 1)
        text = "\n".join(check.lines)
        state.parts[name] = {"result": result, "seconds": seconds, "text": text, "kept": check.kept}
        state.write()

    check.save = save
    try:
        part(check)
        result = "ok"
    except OutOfTime as error:
        result = "out of time"
        check.say(f"\n**Out of time: the same command continues here.** {error}")
    except Exception as error:  # the other parts run in any case
        result = "failed"
        check.say(f"\n**Failed:** {error if isinstance(error, Failed) else repr(error)}")
    save(result)
    print(f"{name}: {result}, {time.monotonic() - start:.0f} s", flush=True)


def part_names(text):
    names = text.split(",")
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(f"no part {', '.join(unknown)}; there are {', '.join(NAMES)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("gpu-check-work"), help="folder for what is written, 2 GB")
    parser.add_argument("--report", type=Path, help="folder for copies of report.md, commands.log and state.json")
    parser.add_argument("--minutes", type=float, help="stop within this many; the same command continues")
    parser.add_argument("--only", type=part_names, help="run only these parts, in this order: " + ",".join(NAMES))
    parser.add_argument("--again", action="store_true", help="run parts again that are done")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    runner = Runner(work, options.minutes)
    try:
        import torch
    except ImportError:
        sys.exit(f"error: {sys.executable} has no torch\nhint: run this with the Python that has torch 2.11")
    if not torch.__version__.startswith("2.11"):
        sys.exit(f"error: torch {torch.__version__}: the programs of this bundle need 2.11")
    state = State(work, options.report and options.report.resolve())

    def end_now(*_):
        runner.deadline = time.monotonic()
        raise OutOfTime("This check was told to end.")

    signal.signal(signal.SIGTERM, end_now)
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    own = own_environment(Path(torch.__file__).parent / "lib")
    check = Check(work, gpu, runner, own, foreign_environment())
    asked = [PARTS[NAMES.index(name)] for name in options.only or NAMES]
    for part in asked:
        if not options.again and state.result(part) == "ok":
            continue
        if runner.left() < 10:  # earlier results are kept
            print(f"{part.__name__}: out of time", flush=True)
            continue
        run_part(part, check, state, options.again)
    state.write()
    print(work / "report.md")
    return 1 if any(state.result(part) == "failed" for part in asked) else 0


if __name__ == "__main__":
    sys.exit(main())
