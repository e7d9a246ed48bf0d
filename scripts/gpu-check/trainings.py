"""The parts of the check that train on the images of the bundle."""

import json
import shlex
import shutil
import statistics
import tarfile

from command import Failed, OutOfTime
from machine import IMAGES

METHODS = ["finetune", "neggrad", "neggradp", "l1sparse", "scrub", "salun", "ssd", "amun", "lur", "regun"]

# Name in results.json, title, factor.
METRICS = [
    ("acc_retain", "accuracy retain (%)", 100),
    ("acc_forget", "accuracy forget (%)", 100),
    ("acc_test", "accuracy test (%)", 100),
    ("rmia_auc", "RMIA AUC", 1),
    ("average_gap", "average gap (%)", 100),
    ("seconds_train", "seconds of training", 1),
    ("seconds_unlearn", "seconds of unlearning", 1),
]


def image_overrides():
    """The overrides for the image files of the bundle, with CIFAR-10's mean and standard deviation."""
    return [
        "data=image_folder",
        "data.num_classes=10",
        "data.transforms.normalize.mean=[0.4914,0.4822,0.4465]",
        "data.transforms.normalize.std=[0.247,0.2435,0.2616]",
        "data.data_dir=images",
    ]


def unpack_images(check):
    """Unpacks the images once. A folder of this name is always complete."""
    folder = check.work / "images"
    if not IMAGES.exists() or folder.exists():
        return
    half = fresh(check.work / "images.part")
    with tarfile.open(IMAGES) as archive:
        # The archive is trusted. Older Pythons do not have the filter.
        archive.extractall(half, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    half.rename(folder)


def training(epochs, *more):
    """The arguments to train one model on the images of the bundle, or on the digits data set if it has none."""
    data = image_overrides() if IMAGES.exists() else ["data=digits"]
    return ["reference", "--run-idx", "1", *data, "model=resnet", f"trainer.max_epochs={epochs}", *more]


def into(folder):
    return [f"paths.cache_dir={folder}/cache", f"hydra.run.dir={folder}/run"]


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def rates(folder):
    """Images per second of each epoch except the first, in which libraries choose their algorithms."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row["images_per_second"] for row in rows[1:]]


def median(values):
    if not values:
        raise Failed("nothing was measured")
    return statistics.median(values)


def memory(check):
    """Peak GPU memory of a training of ResNet-18: the memory in tensors, and all memory that libtorch's allocator
    holds, CUDA graphs included."""
    check.needs_gpu()
    unpack_images(check)
    check.say("| batch | precision | CUDA graph | MiB in tensors | MiB held |")
    check.say("| --- | --- | --- | --- | --- |")
    mixed = "bf16-mixed"
    settings = [(128, "32", "auto"), (128, mixed, "auto"), (1024, mixed, "auto"), (1024, mixed, "false")]
    for batch, precision, graph in settings:
        folder = fresh(check.work / "memory")
        options = [f"data.batch_size={batch}", f"trainer.precision={precision}", f"trainer.cuda_graph={graph}"]
        run = training(3, *options, "trainer.accelerator=gpu")
        check.must(check.regun(*run, *into(folder)), 150)
        (rank,) = json.loads((folder / "run/run.json").read_text())["work"]
        allocated, reserved = (rank["gpu_memory_bytes"][key] >> 20 for key in ["peak_allocated", "peak_reserved"])
        check.say(f"| {batch} | {precision} | {graph} | {allocated} | {reserved} |")


def table(check):
    """Four references, base, retrained and all methods on the images of the bundle: ResNet-18, 20 epochs at most. The
    methods run one after the other. Finished ones, and the models that all of them need, are not run again."""
    check.needs_gpu()
    if not IMAGES.exists():
        raise Failed("the bundle has no images (`make gpu-check IMAGES=archive.tar.gz`)")
    unpack_images(check)
    overrides = [*image_overrides(), "model=resnet", "trainer.max_epochs=20", "mul_eval.mia_num_models=4"]
    overrides += ["trainer.accelerator=gpu", "paths.cache_dir=table-cache"]
    check.say(f"{check.gpu}:")
    check.block("regun " + shlex.join(["pipeline", *overrides, "--methods", ",".join(METHODS)]), "sh")
    failures = []
    try:
        for method in METHODS:
            if method in check.kept:
                continue
            folder = fresh(check.work / "table" / method)
            run = ["pipeline", *overrides, f"hydra.run.dir={folder}/run", "--methods", method]
            try:
                check.must(check.regun(*run), 6 * 3600)
                check.keep(method, json.loads((folder / "run" / "results.json").read_text()))
            except Failed as error:
                failures.append(f"{method}: {error}")
    except OutOfTime:
        trained = sorted(file.name for file in (check.work / "table-cache").rglob("*.safetensors"))
        check.say(f"Trained so far: {', '.join(trained) or 'no model'}.\n")
        raise
    finally:
        say_table(check)
    if failures:
        raise Failed("\n\n".join(failures))


def say_table(check):
    columns = {}
    for method in METHODS:
        # The seconds of a model are in the results of the run that trained it.
        models = {name: metrics for name, metrics in check.kept.get(method, {}).items() if name != "flags"}
        for name, metrics in models.items():
            columns[name] = {**columns.get(name, {}), **metrics}
    check.say(f"| model | {' | '.join(title for _, title, _ in METRICS)} |")
    check.say("| --- |" + " --- |" * len(METRICS))
    for model, metrics in columns.items():
        found = [(metrics.get(name), factor) for name, _, factor in METRICS]
        numbers = ["" if value is None else f"{factor * value:.4g}" for value, factor in found]
        check.say(f"| {model} | {' | '.join(numbers)} |")
