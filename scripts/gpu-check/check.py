#!/usr/bin/env python3
"""Checks regun on a machine with a GPU: the command of the bundle that `make gpu-check` builds.

    python3 gpu-check/check.py [--work DIR] [--minutes N] [--only PART] [--again]

Needs this folder, an NVIDIA GPU, and to be run by a Python with torch 2.11 (and torchvision, for one program that the
speed is compared with); no compiler, MPI or network. Writes DIR/report.md; exit code 1 where something failed.

Parts that came to a good end are kept in DIR/state.json and not run again, and models that are trained are not trained
again: where the time is up, or something was cut off, the same command goes on.
"""

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path

BUNDLE = Path(__file__).resolve().parent
IMAGES = BUNDLE / "images.tar.gz"

# Dense bfloat16 TFLOP/s, for the share of the peak that a training reaches (NVIDIA's data sheets).
PEAKS = {"H100 PCIe": 756, "H100 NVL": 835, "H100": 989, "H200": 989, "A100": 312, "L40S": 362, "B200": 2250}

# An mpirun that may be root in a container, and talks to nobody but this machine.
LAUNCHER = {
    "OPAL_PREFIX": str(BUNDLE / "mpi"),
    "PMIX_INSTALL_PREFIX": str(BUNDLE / "mpi" / "pmix"),
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_btl": "self,vader,tcp",
    "OMPI_MCA_pml": "ob1",
    "OMPI_MCA_plm": "isolated",
    "OMPI_MCA_btl_base_warn_component_unused": "0",
    "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
    "PMIX_MCA_gds": "hash",
    "OMP_WAIT_POLICY": "passive",
}

# NCCL refuses one GPU for two ranks, unless a different NCCL_HOSTID makes it take them for different hosts.
AS_HOSTS = ["sh", "-c", 'NCCL_HOSTID=regun-rank-$OMPI_COMM_WORLD_RANK exec "$0" "$@"']
ON_ONE_GPU = ["trainer.accelerator=gpu", "trainer.devices=[0]", "launch.share_gpus=true"]

SMALL_BUCKETS = ["launch.bucket_mib=4", "trainer.cuda_graph=false", *ON_ONE_GPU]

DEADLINE = float("inf")


class Failed(Exception):
    """A part that did not do what it should; the text goes into the report."""


class OutOfTime(Exception):
    """A part that --minutes left no time for."""


@dataclass
class Output:
    """What a command said."""

    code: int
    text: str
    seconds: float


@dataclass
class Check:
    """What the parts share."""

    work: Path
    environment: dict
    gpu: str | None  # its name
    lines: list = field(default_factory=list)  # of the section that is being written

    def say(self, text=""):
        self.lines.append(text)

    def block(self, text, language="text"):
        self.say(f"\n```{language}\n{text.rstrip()}\n```\n")

    def regun(self, *arguments):
        return [str(BUNDLE / "bin" / "regun"), *arguments]

    def ranks(self, n, command):
        """`command` on n ranks that share the first GPU."""
        mpirun = str(BUNDLE / "mpi" / "bin" / "mpirun")
        return [mpirun, "-n", str(n), "--oversubscribe", "--bind-to", "none", *AS_HOSTS, *command]

    def run(self, command, seconds, cwd=None, environment=None, sample=None):
        """Runs a command, for `seconds` at most, and calls `sample` about once a second. Afterwards it and its children
        are gone."""
        left = DEADLINE - time.monotonic()
        if left < 20:
            raise OutOfTime
        print("  $", shlex.join(command), flush=True)
        log, start = self.work / "last-command.log", time.monotonic()
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command,
                cwd=cwd or self.work,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                cut = watch(process, min(seconds, left - 10), sample)
            finally:  # an interrupt, too, takes the whole family along
                stop(process)
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", log.read_text(errors="replace"))
        output = Output(process.returncode, text, time.monotonic() - start)
        if cut and seconds > left - 10:
            raise OutOfTime
        if cut:
            raise Failed(f"`{shlex.join(command)}` took longer than its limit of {seconds} s\n\n{tail(text)}")
        return output

    def must(self, command, seconds, **options):
        """The same, and exit code 0 or it has failed."""
        output = self.run(command, seconds, **options)
        if output.code:
            raise Failed(f"`{shlex.join(command)}` ended with code {output.code}\n\n{tail(output.text)}")
        return output


def watch(process, seconds, sample):
    """Whether it was still running after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            process.wait(1)
            return False
        except subprocess.TimeoutExpired:
            if sample:
                sample()
    return True


def stop(process):
    """Ends what still runs of a command and its children: mpirun ends its ranks when it is asked to."""
    for number in [signal.SIGTERM, signal.SIGKILL] if process.poll() is None else []:
        try:
            os.killpg(process.pid, number)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass


def tail(text, lines=60):
    return "```text\n" + "\n".join(text.rstrip().splitlines()[-lines:]) + "\n```"


def needs_gpu(check):
    if check.gpu is None:
        raise Failed("no GPU")


# --- parts ------------------------------------------------------------------------------------------------------------


def machine(check):
    """Which machine this is, and what a run would find on it."""
    import torch

    check.say(f"- {platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    check.say(f"- torch {torch.__version__}, CUDA {torch.version.cuda}, GPU: {check.gpu or 'no GPU'}")
    if shutil.which("nvidia-smi"):
        check.block(check.run(["nvidia-smi"], 60).text)
    accelerator = ["trainer.accelerator=gpu"] if check.gpu else []
    check.block(check.must(check.regun("doctor", "data=digits", *accelerator), 120).text)


def tests(check):
    """The tests of `tests/gpu.rs`: float32 and float64 on the GPU against the CPU, NCCL on ranks that share the GPU,
    recorded steps, mixed precision, determinism, augmentation, memory."""
    program = str(BUNDLE / "bin" / "gpu-tests")
    output = check.must([program, "--test-threads", "1", "--nocapture"], 1200)
    check.block("\n".join(line for line in output.text.splitlines() if line.strip()))
    if "no GPU: skipped" in output.text:
        raise Failed("no GPU: the tests were skipped")


def ranks(check):
    """`regun doctor` on 1, 2 and 4 ranks on one GPU, which NCCL takes for different hosts: are its sums right, and how
    fast are they? The ranks talk through sockets here: the bandwidth is not that of NVLink."""
    needs_gpu(check)
    for n in [1, 2, 4]:
        output = check.must(check.ranks(n, check.regun("doctor", "data=digits", *ON_ONE_GPU)), 240)
        check.say(f"{n} rank{'s' if n > 1 else ''}:")
        check.block(output.text)


def training(epochs, *more):
    """A training of one model on the images of the bundle, or on the digits where it has none."""
    data = image_overrides() if IMAGES.exists() else ["data=digits"]
    return ["reference", "--run-idx", "1", *data, "model=resnet", f"trainer.max_epochs={epochs}", *more]


def into(folder):
    return [f"paths.cache_dir={folder}/cache", f"hydra.run.dir={folder}/run"]


def rates(folder):
    """Images per second of the epochs but the first, in which libraries choose their algorithms."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["images_per_second"] for row in rows[1:]]


def overlap(check):
    """Two ranks on one GPU train with `launch.bucket_order=ready`, in which sums of gradients run beside the backward
    pass, and with `layout`, in which the first bucket is the last to be ready, so that nearly no sum can. This is a
    comparison, and on one GPU both ranks share what the sums use; a timeline is below where `nsys` is on PATH."""
    needs_gpu(check)
    unpack_images(check)
    found = {}
    for order in ["ready", "layout", "ready", "layout"]:
        folder = fresh(check.work / f"overlap-{order}")
        run = training(4, f"launch.bucket_order={order}", *SMALL_BUCKETS)
        check.must(check.ranks(2, check.regun(*run, *into(folder))), 400)
        found.setdefault(order, []).extend(rates(folder / "run"))
    check.say("| bucket order | images/s (median) | epochs |")
    check.say("| --- | --- | --- |")
    for order, taken in found.items():
        check.say(f"| {order} | {median(taken):.0f} | {len(taken)} |")
    check.say(f"\n`ready` is {median(found['ready']) / median(found['layout']):.3f} times as fast as `layout`.\n")
    if not shutil.which("nsys"):
        check.say("No timeline: `nsys` is not on PATH.")
        return
    folder = fresh(check.work / "overlap-timeline")
    run = training(1, *SMALL_BUCKETS)
    command = check.regun(*run, *into(folder))
    trace = ["nsys", "profile", "--trace=cuda", "-o", str(folder / "timeline-%q{OMPI_COMM_WORLD_RANK}")]
    check.must(check.ranks(2, [*trace, *command]), 400)
    export = ["nsys", "stats", "--report", "cuda_gpu_trace", "--format", "csv", str(folder / "timeline-0.nsys-rep")]
    check.say(hidden_share(check.must(export, 300).text))


def hidden_share(csv_text):
    """How much of the time of NCCL's kernels lies beside other kernels of the same process."""
    import csv

    lines = csv_text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("Start (ns)")), None)
    if start is None:
        raise Failed("nsys printed no table of kernels")
    sums, others = [], []
    for row in csv.DictReader(lines[start:]):
        begin, name = int(row["Start (ns)"]), row["Name"]
        if not name.startswith("[CUDA "):  # copies and fills
            (sums if "nccl" in name.lower() else others).append((begin, begin + int(row["Duration (ns)"])))
    if not sums:
        raise Failed("no kernel of NCCL in the timeline")
    total, hidden = sum(end - begin for begin, end in sums), 0
    others, i = sorted(others), 0
    for begin, end in sorted(sums):
        while i < len(others) and others[i][1] <= begin:
            i += 1
        edge, j = begin, i
        while j < len(others) and others[j][0] < end:
            hidden += max(0, min(end, others[j][1]) - max(edge, others[j][0]))
            edge = max(edge, min(end, others[j][1]))
            j += 1
    share = 100 * hidden / total
    return f"Timeline of rank 0: {share:.1f} % of {total / 1e6:.1f} ms of NCCL's kernels lie beside other kernels."


def memory(check):
    """The most memory of the GPU that `nvidia-smi` shows as used, by everybody, while ResNet-18 trains."""
    needs_gpu(check)
    unpack_images(check)
    query = ["nvidia-smi", "--id=0", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if not shutil.which("nvidia-smi"):
        raise Failed("no nvidia-smi")

    def used():
        result = subprocess.run(query, capture_output=True, text=True, timeout=30)
        return int(result.stdout) if result.returncode == 0 else 0

    check.say(f"Before: {used()} MiB.\n")
    check.say("| batch | precision | most MiB |")
    check.say("| --- | --- | --- |")
    for batch, precision in [(128, "32"), (128, "bf16-mixed"), (1024, "bf16-mixed")]:
        folder, seen = fresh(check.work / "memory"), [used()]
        run = training(3, f"data.batch_size={batch}", f"trainer.precision={precision}", "trainer.accelerator=gpu")
        command = check.regun(*run, *into(folder))
        check.must(command, 400, sample=lambda seen=seen: seen.append(used()))
        check.say(f"| {batch} | {precision} | {max(seen)} |")


def speed(check):
    """Images per second against PyTorch on the same GPU, all programs in turns."""
    needs_gpu(check)
    peak = next((peak for name, peak in PEAKS.items() if all(word in check.gpu for word in name.split())), None)
    for batch in [128, 1024]:
        command = [str(BUNDLE / "bin" / "throughput"), "--device", "cuda:0", "--precision", "bf16-mixed"]
        command += ["--batch", str(batch), "--python", sys.executable, "--only", "train", "--steps", "50"]
        command += ["--threads", str(min(8, os.cpu_count() or 1))]
        command += ["--peak-tflops", str(peak)] if peak else []
        # It looks for its Python programs in `benches`, and writes `target/bench.json`.
        folder = fresh(check.work / "speed")
        (folder / "target").mkdir()
        (folder / "benches").symlink_to(BUNDLE / "benches")
        output = check.must(command, 900, cwd=folder)
        check.say(f"Batch {batch}:")
        check.block("\n".join(line for line in output.text.splitlines() if ": round " not in line))


def image_overrides():
    """The image files of the bundle, as CIFAR-10."""
    return [
        "data=image_folder",
        "data.num_classes=10",
        "data.transforms.normalize.mean=[0.4914,0.4822,0.4465]",
        "data.transforms.normalize.std=[0.247,0.2435,0.2616]",
        "data.data_dir=images",
    ]


def unpack_images(check):
    """Once; a folder that is there under its name is whole."""
    folder = check.work / "images"
    if not IMAGES.exists() or folder.exists():
        return
    half = fresh(check.work / "images.part")
    with tarfile.open(IMAGES) as archive:
        # An archive that we packed ourselves; older Pythons do not know the filter.
        archive.extractall(half, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    half.rename(folder)


METHODS = ["finetune", "neggrad", "neggradp", "l1sparse", "scrub", "salun", "ssd", "amun", "lur", "regun"]

# Name in results.json, title, factor.
METRICS = [
    ("acc_retain", "accuracy retain (%)", 100),
    ("acc_forget", "accuracy forget (%)", 100),
    ("acc_test", "accuracy test (%)", 100),
    ("rmia_auc", "RMIA AUC", 1),
    ("average_gap", "average gap (%)", 100),
    ("seconds", "seconds", 1),
]


def table(check):
    """Four references, base, retrained and all methods on the images of the bundle: ResNet-18, 20 epochs at most. One
    method after the other: those that have a results.json, and the models that all of them need, are not made again."""
    if not IMAGES.exists():
        check.say("The bundle has no images (`make gpu-check IMAGES=archive.tar.gz`).")
        return
    needs_gpu(check)
    unpack_images(check)
    overrides = [*image_overrides(), "model=resnet", "trainer.max_epochs=20", "mul_eval.mia_num_models=4"]
    overrides += ["trainer.accelerator=gpu", "paths.cache_dir=table-cache"]
    folder, columns, failures, cut = check.work / "table", {}, [], None
    check.say(f"{check.gpu}:")
    check.block("regun " + shlex.join(["pipeline", *overrides, "--methods", ",".join(METHODS)]), "sh")
    for method in METHODS:
        results = folder / method / "results.json"
        if not results.exists():
            run_dir = f"hydra.run.dir={fresh(results.parent)}/run"
            try:
                check.must(check.regun("pipeline", *overrides, run_dir, "--methods", method), 6 * 3600)
            except OutOfTime as error:
                cut = error
                break
            except Failed as error:
                failures.append(f"{method}: {error}")
                continue
            shutil.copy(results.parent / "run" / "results.json", results)
        # A model that another method's run trained has its seconds there.
        for title, metrics in json.loads(results.read_text()).items():
            columns[title] = {**columns.get(title, {}), **metrics}
    check.say(f"| model | {' | '.join(title for _, title, _ in METRICS)} |")
    check.say("| --- |" + " --- |" * len(METRICS))
    for title, metrics in columns.items():
        numbers = [f"{factor * metrics[name]:.4g}" if name in metrics else "" for name, _, factor in METRICS]
        check.say(f"| {title} | {' | '.join(numbers)} |")
    if cut:
        trained = sorted(file.name for file in (check.work / "table-cache").rglob("*.safetensors"))
        check.say(f"\nTrained so far: {', '.join(trained) or 'no model'}.")
        raise cut
    if failures:
        raise Failed("\n\n".join(failures))


PARTS = [machine, tests, ranks, overlap, memory, speed, table]

# --- the report -------------------------------------------------------------------------------------------------------


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def median(values):
    if not values:
        raise Failed("nothing was measured")
    return sorted(values)[len(values) // 2]


def environment(libraries):
    paths = [str(BUNDLE / "lib"), *libraries, os.environ.get("LD_LIBRARY_PATH", "")]
    path = f"{BUNDLE / 'mpi' / 'bin'}:{BUNDLE / 'bin'}:{os.environ.get('PATH', '')}"
    # What a launcher around this one says is not meant for ours.
    launchers = ("OMPI_", "PMIX_", "PMI_", "SLURM_")
    outer = {name: value for name, value in os.environ.items() if not name.startswith(launchers)}
    return {**outer, **LAUNCHER, "LD_LIBRARY_PATH": ":".join(filter(None, paths)), "PATH": path}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("gpu-check-work"), help="folder for all that is written")
    parser.add_argument("--minutes", type=float, help="stop before this many are over; the same command goes on")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS], help="this part alone")
    parser.add_argument("--again", action="store_true", help="parts that are done too")
    options = parser.parse_args()
    try:
        import torch
    except ImportError:
        sys.exit(f"error: {sys.executable} has no torch\nhint: run this with the Python that has torch 2.11")
    if not torch.__version__.startswith("2.11"):
        sys.exit(f"error: torch {torch.__version__}: the programs of this bundle need 2.11")
    if options.minutes:
        global DEADLINE
        DEADLINE = time.monotonic() + 60 * options.minutes
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    state_file = work / "state.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {}
    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    check = Check(work, environment([str(Path(torch.__file__).parent / "lib")]), gpu)
    for part in PARTS:
        name = part.__name__
        if options.only not in (None, name) or (state.get(name, {}).get("result") == "ok" and not options.again):
            continue
        print(f"{name} ...", flush=True)
        check.lines, start = [], time.monotonic()
        try:
            part(check)
            result = "ok"
        except OutOfTime:
            result = "out of time"
            check.say("\n**Out of time: the same command goes on here.**")
        except Exception as error:  # whatever it is, the others have their turn
            result = "failed"
            check.say(f"\n**Failed:** {error if isinstance(error, Failed) else repr(error)}")
        seconds = time.monotonic() - start
        state[name] = {"result": result, "seconds": round(seconds, 1), "text": "\n".join(check.lines)}
        print(f"{name}: {result}, {seconds:.0f} s", flush=True)
        write(state_file, json.dumps(state, indent=1))
        write(work / "report.md", report(state))
    write(work / "report.md", report(state))
    print(work / "report.md")
    asked = [options.only] if options.only else [part.__name__ for part in PARTS]
    return 1 if any(state[name]["result"] == "failed" for name in asked) else 0


def report(state):
    lines = ["# regun on a GPU", "", "| part | result | seconds |", "| --- | --- | --- |"]
    for part in PARTS:
        found = state.get(part.__name__, {"result": "not run", "seconds": ""})
        lines.append(f"| {part.__name__} | {found['result']} | {found['seconds']} |")
    for part in PARTS:
        if part.__name__ in state:
            about = " ".join(part.__doc__.split())
            lines += ["", f"## {part.__name__}", "", about, "", state[part.__name__]["text"]]
    return "\n".join(lines) + "\n"


def write(path, text):
    """The whole file or none of it."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)


if __name__ == "__main__":
    sys.exit(main())
