"""The parts of the check that measure or compare. `trainings.py` has those that train on images."""

import json
import os
import platform
import shutil
import time

from command import Failed, last, quote
from machine import BUNDLE, foreign_python, loopback_works, peak, sharing
from trainings import fresh, into, median, rates, training, unpack_images

# NCCL refuses two ranks on one GPU. With different values of NCCL_HOSTID it treats them as ranks on different hosts.
AS_HOSTS = ["sh", "-c", 'NCCL_HOSTID=regun-rank-$OMPI_COMM_WORLD_RANK exec "$0" "$@"']
ON_ONE_GPU = ["trainer.accelerator=gpu", "trainer.devices=[0]", "launch.share_gpus=true"]

# Prefix of the tests that start ranks. The tests that run inside the ranks are called rank_*.
RANKS = "ranks::"


def machine(check):
    """The machine, and the report of `regun doctor` on it."""
    import torch

    check.say(f"- {platform.platform()}, {os.cpu_count()} processors, Python {platform.python_version()}")
    check.say(f"- torch {torch.__version__}, CUDA {torch.version.cuda}, GPU: {check.gpu or 'no GPU'}")
    shared = shutil.disk_usage("/dev/shm").free >> 20 if os.path.exists("/dev/shm") else 0
    check.say(f"- {shared} MiB of shared memory; the loopback interface {'works' if loopback_works() else 'is down'}")
    if shutil.which("nvidia-smi"):
        check.block(check.run(["nvidia-smi"], 60, own=False).text)
    accelerator = ["trainer.accelerator=gpu"] if check.gpu else []
    check.block(check.must(check.regun("doctor", "data=digits", *accelerator), 120).text)


# --- tests ------------------------------------------------------------------------------------------------------------


def tests(check):
    """The tests of `tests/gpu` that need one process: float32 and float64 on the GPU compared with the CPU,
    captured CUDA graphs, mixed precision, determinism, augmentation."""
    check.needs_gpu()
    run_tests(check, [name for name in listed(check) if not name.startswith(RANKS)], 150)


def rank_tests(check):
    """The tests of `tests/gpu` that start ranks: NCCL's collectives and trainings on ranks that share the GPU, and a
    process on a GPU with little free memory."""
    check.needs_gpu()
    names = [name for name in listed(check) if name.startswith(RANKS)]
    with sharing(check, doctor_on(check, 2)):
        run_tests(check, names, 400)


def test_program():
    return str(BUNDLE / "bin" / "gpu-tests")


def listed(check):
    lines = check.must([test_program(), "--list"], 60).text.splitlines()
    names = [line.removesuffix(": test") for line in lines if line.endswith(": test")]
    return [name for name in names if not name.startswith(f"{RANKS}rank_")]


def run_tests(check, names, seconds):
    """Runs each test in a process of its own. Passed tests are not run again; failed ones come last."""
    try:
        for name in sorted(names, key=lambda name: name in check.kept):
            if check.kept.get(name, {}).get("result") != "ok":
                check.keep(name, one_test(check, name, seconds))
    finally:
        found = {name: check.kept.get(name, {"result": "not run", "seconds": "", "text": ""}) for name in names}
        check.say("| test | result | seconds |")
        check.say("| --- | --- | --- |")
        for name, test in found.items():
            check.say(f"| {name} | {test['result']} | {test['seconds']} |")
        for name, test in found.items():
            if test["text"]:
                check.say(f"\n`{name}`:\n\n{test['text']}")
    failed = [name for name, test in found.items() if test["result"] == "failed"]
    if failed:
        raise Failed(", ".join(failed))


def one_test(check, name, seconds):
    result, start = "ok", time.monotonic()
    try:
        command = [test_program(), "--exact", name, "--nocapture", "--test-threads", "1"]
        text = check.must(command, seconds).text
        if "1 passed" not in text:
            raise Failed(f"it did not run\n\n{quote(last(text, 30))}")
        # The output of the test itself. Its first line follows the name of the test.
        lines = [line.removeprefix(f"test {name} ... ") for line in text.splitlines()]
        said = [line for line in lines if line not in ("", "ok") and not line.startswith(("running 1 ", "test result"))]
        text = quote(last("\n".join(said), 40)) if said else ""
    except Failed as error:
        result, text = "failed", str(error)
    return {"result": result, "seconds": round(time.monotonic() - start, 1), "text": text}


# --- ranks ------------------------------------------------------------------------------------------------------------


def on_ranks(n, command):
    """The command line that runs `command` on n ranks that share the first GPU."""
    mpirun = str(BUNDLE / "mpi" / "bin" / "mpirun")
    return [mpirun, "-n", str(n), "--oversubscribe", "--bind-to", "none", *AS_HOSTS, *command]


def doctor_on(check, n):
    return on_ranks(n, check.regun("doctor", "data=digits", *ON_ONE_GPU))


def ranks(check):
    """`regun doctor` on 1, 2 and 4 ranks on one GPU, which NCCL treats as different hosts. It checks the results and
    the speed of the all-reduce. The ranks communicate through sockets, so the bandwidth is not that of NVLink."""
    check.needs_gpu()
    if not loopback_works():
        check.say("**The loopback interface `lo` is down**: the ranks cannot reach each other (`ip link set lo up`).\n")
    with sharing(check, doctor_on(check, 2)):
        for n in [1, 2, 4]:
            output = check.must(doctor_on(check, n), 120)
            check.say(f"{n} rank{'s' if n > 1 else ''}:")
            check.block(output.text)


# --- speed ------------------------------------------------------------------------------------------------------------

# Title of each PyTorch program, and the wanted ratio of regun's speed to its own by batch size. Ratios without a target
# are only reported.
BASELINES = {
    "graph": ("hand-tuned eager in a CUDA graph", {128: 1.0, 1024: 1.0}),
    "compile": ("torch.compile", {128: 1.3, 1024: 0.85}),
    "loader": ("DataLoader of 8 workers, eager", {128: 8.0, 1024: 8.0}),
    "reduce-overhead": ("torch.compile, reduce-overhead", {}),
    "eager": ("hand-tuned eager", {}),
}

# Steps of a round, by batch size: multiples of the loader's number of workers. Otherwise some workers are idle at the
# end of a round.
STEPS = {128: 200, 1024: 48}


def speed(check):
    """ResNet-18 with the CIFAR stem, bfloat16, whole training steps with augmentation: images per second compared
    with PyTorch on the same GPU, all programs in turn. `-` marks a PyTorch program that could not run; the reason is
    below the table."""
    check.needs_gpu()
    failures = []
    try:
        for batch in STEPS:
            if str(batch) in check.kept:
                continue
            try:
                check.keep(str(batch), measured(check, batch))
            except Failed as error:
                failures.append(f"batch {batch}: {error}")
    finally:
        titles = ["batch", "PyTorch", "its images/s", "of the peak", "regun, images/s", "of the peak"]
        check.say(f"| {' | '.join([*titles, 'ratio', 'target', 'reached'])} |")
        check.say("| --- |" + " --- |" * 8)
        for batch, result in check.kept.items():
            for row in result["rows"]:
                check.say(speed_row(int(batch), row))
        limit = peak(check.gpu)
        check.say(f"\nThe peak: {limit or 'not known'} TFLOP/s, dense bfloat16 ({check.gpu}).")
        for batch, result in check.kept.items():
            check.say(f"\nBatch {batch}:")
            check.block(result["text"])
    if failures:
        raise Failed("\n\n".join(failures))


def speed_row(batch, row):
    mode = row["baseline_name"].split(",")[0].removeprefix("PyTorch ")
    title, targets = BASELINES.get(mode, (mode, {}))
    target, ratio, share = targets.get(batch), row["ratio"], row.get("share_of_peak")
    theirs = share / ratio if share and ratio else None
    reached = "-" if target is None or ratio is None else "yes" if ratio >= target else "**no**"
    cells = [
        batch, title, number(row["baseline"], ".0f"), number(theirs, ".1%"), number(row["ours"], ".0f"),
        number(share, ".1%"), number(ratio, ".3f"), number(target, ".2f"), reached,
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def number(value, form):
    return "-" if value is None else format(value, form)


def measured(check, batch):
    command = [str(BUNDLE / "bin" / "throughput"), "--device", "cuda:0", "--precision", "bf16-mixed"]
    command += ["--batch", str(batch), "--steps", str(STEPS[batch]), "--rounds", "5", "--only", "train_engine"]
    command += ["--threads", str(min(8, os.cpu_count() or 1)), "--python", str(foreign_python(check.work))]
    limit = peak(check.gpu)
    command += ["--peak-tflops", str(limit)] if limit else []
    # The benchmark finds its Python programs in `benches` and writes `target/bench.json`. The cache of torch.compile is
    # kept.
    folder = fresh(check.work / "speed")
    (folder / "benches").symlink_to(BUNDLE / "benches")
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(check.work / "inductor")}
    output = check.must(command, 480, cwd=folder, more=cache)
    lines = [line for line in output.text.splitlines() if ": round " not in line]
    return {"rows": json.loads((folder / "target/bench.json").read_text()), "text": last("\n".join(lines), 150)}


# --- all-reduce of gradients during the backward pass -----------------------------------------------------------------


def overlap(check):
    """Two ranks on one GPU train with `launch.trace_sums=true`: events on both streams measure the part of the time of
    the gradients' all-reduce that overlaps the backward pass (is hidden by it). With `launch.bucket_order=layout` the
    first bucket is the last to be ready, so that almost no time can be hidden. With `ready`, the default, most should
    be hidden.

    Two processes on one GPU take turns (time slices), unless they run at the same time through MPS. An all-reduce then
    ends only after the other rank's turn, and for part of that time this rank runs nothing. So its milliseconds say
    little about two GPUs, and the hidden part only shows that the all-reduce begins during the backward pass. The
    ranks communicate through sockets here, too."""
    check.needs_gpu()
    unpack_images(check)
    options = ["data.debug_subset_size=8192", "data.batch_size=1024", "trainer.sync_batchnorm=false"]
    shares = {}
    with sharing(check, doctor_on(check, 2)) as together:
        check.say("| bucket order | images/s | sums | ms each | hidden | hidden on each rank |")
        check.say("| --- | --- | --- | --- | --- | --- |")
        for order in ["ready", "layout"]:
            folder = fresh(check.work / f"overlap-{order}")
            run = training(3, *options, f"launch.bucket_order={order}", "launch.trace_sums=true", *ON_ONE_GPU)
            check.must(on_ranks(2, check.regun(*run, *into(folder))), 150)
            traced = [rank["gradient_sums"] for rank in json.loads((folder / "run/run.json").read_text())["work"]]
            if not all(rank and rank["sums"] for rank in traced):
                raise Failed("run.json has no gradient_sums: the sums did not run beside the backward pass")
            seconds, hidden, sums = (sum(rank[key] for rank in traced) for key in ["seconds", "hidden_seconds", "sums"])
            shares[order] = hidden / seconds
            each = ", ".join(f"{rank['hidden_seconds'] / rank['seconds']:.1%}" for rank in traced)
            rate, ms = median(rates(folder / "run")), 1e3 * seconds / sums
            check.say(f"| {order} | {rate:.0f} | {sums} | {ms:.2f} | {shares[order]:.1%} | {each} |")
    if shares["ready"] <= shares["layout"]:
        finding = "no more of the sums is hidden with `ready` than with `layout`"
        if together:
            raise Failed(finding)
        check.say(f"\nIn time slices, {finding}: measure this on two GPUs.")
