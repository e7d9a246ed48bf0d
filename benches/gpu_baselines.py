#!/usr/bin/env python3
"""Hand-tuned PyTorch programs for the comparison of whole training steps, augmentation included.

    gpu_baselines.py MODE [--steps K] [--batch-size B] [--device cpu|cuda:0] [--precision 32|bf16-mixed] [--threads N]

Each trains ResNet-18 (CIFAR stem, channels-last) on random uint8 images of 3x32x32: pad by 4 and crop, flip, normalise,
forward under autocast, mean cross entropy, backward, SGD (momentum 0.9, Nesterov, weight decay 5e-4, fused where the
device has it), and adds up loss and hits on the device.

MODE
    eager              the images are in the device's memory and are augmented there; cuDNN times its algorithms
    graph              the same step as one CUDA graph
    compile            the model through torch.compile
    reduce-overhead    the same with mode="reduce-overhead": CUDA graphs by torch.compile
    loader             the usual program: a DataLoader with 8 workers, torchvision v2 transforms on each image, pinned
                       memory, eager steps, measured in the middle of a long epoch

The protocol on stdin and stdout is that of `baseline.py`.
"""

import argparse
import json
import sys
import time
from itertools import islice

import torch
from baseline import ResNet18
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616)
PADDING = 4
WORKERS, AHEAD = 8, 2


class Task:
    """Data, model and optimizer, and the parts of a step."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.device = args, torch.device(args.device)
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        on = {"device": self.device}
        self.num_images = args.steps * args.batch_size
        self.images = torch.randint(256, (self.num_images, 3, 32, 32), dtype=torch.uint8)
        self.labels = torch.randint(10, (self.num_images,))
        if args.mode != "loader":
            self.images, self.labels = self.images.to(**on), self.labels.to(**on)
        self.mean = torch.tensor(MEAN, **on).view(1, 3, 1, 1)
        self.std = torch.tensor(STD, **on).view(1, 3, 1, 1)
        self.model = ResNet18().to(**on, memory_format=torch.channels_last)
        # The learning rate is small, so that repeated steps on noise do not diverge.
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True
        )
        self.loss, self.hits = torch.zeros((), **on), torch.zeros((), dtype=torch.int64, **on)

    def augment(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Turns uint8 [N, 3, 32, 32] and draws int64 [3, N] (top, left, flip) into normalised channels-last float32."""
        n, side = pixels.shape[0], 32
        top, left, flip = draws.unsqueeze(-1).unbind(0)
        window = torch.arange(side, device=pixels.device)
        rows = top + window
        columns = left + torch.where(flip.bool(), side - 1 - window, window)
        padded = F.pad(pixels, [PADDING] * 4)
        flat = (rows.unsqueeze(2) * padded.shape[3] + columns.unsqueeze(1)).view(n, 1, -1).expand(n, 3, -1)
        cropped = padded.flatten(2).gather(2, flat).view(n, 3, side, side)
        scaled = cropped.contiguous(memory_format=torch.channels_last).float() / 255
        return (scaled - self.mean) / self.std

    def draw(self, n: int) -> Tensor:
        corners = torch.randint(2 * PADDING + 1, (2, n), device=self.device)
        return torch.cat([corners, torch.randint(2, (1, n), device=self.device)])

    def learn(self, model: nn.Module, images: Tensor, labels: Tensor) -> None:
        """One step on augmented images. Nothing in it waits for the device."""
        # Without gradients backward stores new ones instead of adding to them. `reduce-overhead` reuses its memory, so
        # old gradients must not be in it.
        self.optimizer.zero_grad(set_to_none=True)
        if self.args.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        narrow = self.args.precision == "bf16-mixed"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=narrow):
            logits = model(images)
            loss = F.cross_entropy(logits, labels)
        loss.backward()
        self.optimizer.step()
        self.loss += loss.detach()
        self.hits += (logits.argmax(1) == labels).sum()


def on_device(task: Task, model: nn.Module):
    """Returns an epoch of eager steps on images in the device's memory."""

    def epoch() -> None:
        order = torch.randperm(task.num_images, device=task.device)
        for rows in order.split(task.args.batch_size):
            images = task.augment(task.images[rows], task.draw(len(rows)))
            task.learn(model, images, task.labels[rows])

    return epoch


def as_graph(task: Task):
    """Returns an epoch with augmentation and step in one CUDA graph, on images in the device's memory."""
    size = task.args.batch_size
    rows = torch.arange(size, device=task.device)
    draws = task.draw(size)

    def step() -> None:
        task.learn(task.model, task.augment(task.images[rows], draws), task.labels[rows])

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    # The graph allocates its gradients in its own memory, so there must be none from before.
    task.optimizer.zero_grad(set_to_none=True)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def epoch() -> None:
        for chosen in torch.randperm(task.num_images, device=task.device).split(size):
            rows.copy_(chosen)
            draws.copy_(task.draw(size))
            graph.replay()

    return epoch


class Images(torch.utils.data.Dataset):
    def __init__(self, task: Task):
        from torchvision.transforms import v2

        self.images, self.labels = task.images, task.labels
        crop = v2.RandomCrop(32, padding=PADDING)
        wide = v2.ToDtype(torch.float32, scale=True)
        self.transform = v2.Compose([crop, v2.RandomHorizontalFlip(), wide, v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        return self.transform(self.images[index]), self.labels[index]


def through_loader(task: Task):
    """Returns an epoch of eager steps on batches from worker processes, and a preparation that is not timed."""
    images = Images(task)
    # The sampler is practically endless, so that workers never stop between epochs.
    endless = torch.utils.data.RandomSampler(images, num_samples=1 << 40)
    loader = torch.utils.data.DataLoader(
        images, task.args.batch_size, sampler=endless, num_workers=WORKERS, pin_memory=task.device.type == "cuda",
        prefetch_factor=AHEAD,
    )  # fmt: skip
    batches = iter(loader)

    def epoch() -> None:
        for images, labels in islice(batches, task.args.steps):
            images = images.to(task.device, non_blocking=True, memory_format=torch.channels_last)
            task.learn(task.model, images, labels.to(task.device, non_blocking=True))

    def prepare() -> None:
        # Discards the batches that the workers made while this program waited for its turn.
        for _ in islice(batches, WORKERS * AHEAD):
            pass

    return epoch, prepare


def make_epoch(task: Task):
    """Returns the function to time and its preparation."""
    match task.args.mode:
        case "loader":
            return through_loader(task)
        case "graph":
            epoch = as_graph(task)
        case "compile":
            epoch = on_device(task, torch.compile(task.model))
        case "reduce-overhead":
            epoch = on_device(task, torch.compile(task.model, mode="reduce-overhead"))
        case _:
            epoch = on_device(task, task.model)
    return epoch, lambda: None


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["eager", "graph", "compile", "reduce-overhead", "loader"])
    parser.add_argument("--steps", type=int, default=50, help="steps per `go` (default 50)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="32", choices=["32", "bf16-mixed"])
    args = parser.parse_args()
    if args.mode == "graph" and not args.device.startswith("cuda"):
        parser.error("mode graph needs --device cuda")
    return args


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.device.startswith("cuda"):
        torch.cuda.set_device(args.device)
    task = Task(args)
    epoch, prepare = make_epoch(task)

    def timed() -> float:
        prepare()
        start = time.perf_counter()
        epoch()
        # Reading the loss waits for the device.
        if not task.loss.isfinite():
            sys.exit("gpu_baselines.py: the loss is not finite")
        return time.perf_counter() - start

    timed()
    if args.device.startswith("cuda"):
        # Other programs share this GPU. Frees the memory that only the choice of algorithms needed.
        torch.cuda.empty_cache()
    timed()
    device = torch.cuda.get_device_name() if args.device.startswith("cuda") else "cpu"
    facts = {"mode": args.mode, "images": task.num_images, "torch": torch.__version__, "device": device}
    print("ready", json.dumps(facts), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            print(f"gpu_baselines.py: expected the line 'go', got {line.strip()!r}", file=sys.stderr)
            sys.exit(2)
        print(f"{timed():.6f}", flush=True)


if __name__ == "__main__":
    main()
