#!/usr/bin/env python3
"""The PyTorch program of the throughput benchmark: a child process that times steps on request.

    baseline.py MODE [--steps K] [--threads N] [--batch-size B] [--device cpu|cuda:0] [--precision 32|bf16-mixed] ...

The network is ResNet-18 with the CIFAR stem (He et al. 2015, arXiv 1512.03385; 11,173,962 parameters for 10 classes),
built from torch.nn alone with the parameter names of torchvision, on 3x32x32 images; or with `--model` one of
torchvision's own, on 3x224x224 images, with 10 classes. A step handles one batch of random images that stays on the
device: no data loading, no augmentation, no logging. The pipeline modes only load and augment K batches and move them
to the device.

MODE
    train                  zero the gradients, forward, mean cross entropy, backward, SGD step (momentum 0.9, Nesterov,
                           weight decay 5e-4)
    train-channels-last    the same with weights and images in channels-last memory order
    eval                   forward in eval mode under torch.inference_mode
    eval-channels-last     the same in channels-last memory order
    fisher-loop            squared gradients of single samples, summed over the batch: one backward pass per image
    fisher-vmap            the same by torch.func: vmap over grad
    regun-epoch            one epoch of ReGUn (one step: a forget batch towards the mean prediction of a frozen copy on
                           a held-out batch, a retain batch) and the logits of retain (4 B images), forget, val and test
                           (B each)
    pipeline-cifar10       an epoch of a shuffling DataLoader with 2 workers over uint8 tensors in memory: torchvision v2's
                           RandomCrop(32, padding=4), RandomHorizontalFlip, ToDtype(float32, scale), Normalize
    pipeline-tiny_imagenet the same at 64x64 with ColorJitter(0.1, 0.1, 0.1, 0.02) before Normalize
All modes are eager PyTorch with its defaults. `--precision bf16-mixed` runs the forward pass of training under
autocast; evaluation stays float32.

Protocol, one line each way (stdin -> stdout, flushed):

    (start)        ->  ready {"mode": ..., "steps": K, "images": K * B, "threads": N, "torch": ..., "device": ...}
    go             ->  <seconds that K steps took, as a decimal number>
    end of input       ends the process with exit code 0

`ready` comes after the warm-up steps, so that several processes can be started, left waiting (a waiting process takes
no CPU time) and run in turn: alternating them spreads slow changes of the machine (heat, other users) evenly over all
programs. Any other line is an error: a message on stderr, exit code 2.
"""

import argparse
import copy
import json
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F


MODES = [
    "train", "train-channels-last", "eval", "eval-channels-last", "fisher-loop", "fisher-vmap", "regun-epoch",
    "pipeline-cifar10", "pipeline-tiny_imagenet",
]  # fmt: skip


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut is a strided 1x1 convolution where the shape changes."""

    def __init__(self, in_channels: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or in_channels != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.bn2(self.conv2(x))
        return F.relu(x + shortcut, inplace=True)


class ResNet18(nn.Module):
    """CIFAR stem: a 3x3 convolution of stride 1 and no max-pool. Input (N, 3, H, W), output (N, num_classes)."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        in_channels = 64
        for i, channels in enumerate([64, 128, 256, 512], start=1):
            stride = 1 if i == 1 else 2
            blocks = nn.Sequential(BasicBlock(in_channels, channels, stride), BasicBlock(channels, channels, 1))
            self.add_module(f"layer{i}", blocks)
            in_channels = channels
        self.fc = nn.Linear(in_channels, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean(dim=(2, 3)))


def fisher_step(model: nn.Module, images: Tensor, labels: Tensor, with_vmap: bool):
    """Sums over the batch of squared gradients of single samples, in eval mode."""
    model.eval()
    parameters = dict(model.named_parameters())
    buffers = dict(model.named_buffers())

    def loss(parameters: dict, image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, (parameters, buffers), image[None])
        return F.cross_entropy(logits, label[None])

    def vmap() -> list:
        detached = {name: tensor.detach() for name, tensor in parameters.items()}
        single = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0))(detached, images, labels)
        return [gradient.square().sum(0) for gradient in single.values()]

    def loop() -> list:
        sums = [torch.zeros_like(tensor) for tensor in parameters.values()]
        for image, label in zip(images, labels):
            gradients = torch.autograd.grad(loss(parameters, image, label), list(parameters.values()))
            for total, gradient in zip(sums, gradients):
                total.addcmul_(gradient, gradient)
        return sums

    return vmap if with_vmap else loop


def regun_epoch(model: nn.Module, batch: int, device: torch.device):
    """One epoch of ReGUn and the forward passes of the evaluation."""

    def part(batches: int) -> Tensor:
        return torch.randn(batches * batch, 3, 32, 32, device=device)

    parts = {"retain": part(4), "forget": part(1), "val": part(1), "test": part(1)}
    heldout, labels = part(1), torch.randint(10, (batch,), device=device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def epoch() -> dict:
        reference = copy.deepcopy(model).eval()
        model.train()
        with torch.no_grad():
            target = reference(heldout).softmax(1).mean(0)
        forget = F.kl_div(model(parts["forget"]).log_softmax(1), target.expand(batch, -1), reduction="batchmean")
        loss = 0.5 * forget + 0.5 * F.cross_entropy(model(parts["retain"][:batch]), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        model.eval()
        with torch.inference_mode():
            return {name: torch.cat([model(x) for x in images.split(batch)]) for name, images in parts.items()}

    return epoch


class Augmented(torch.utils.data.Dataset):
    """Random uint8 images. Each is transformed when it is read."""

    def __init__(self, n: int, side: int, transform):
        self.images = torch.randint(256, (n, 3, side, side), dtype=torch.uint8)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), 0


def make_epoch(args: argparse.Namespace):
    """Returns a function without arguments that reads `args.steps` augmented batches."""
    from torchvision.transforms import v2

    tiny = args.mode == "pipeline-tiny_imagenet"
    side = 64 if tiny else 32
    transform = v2.Compose(
        [v2.RandomCrop(side, padding=4), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
        + ([v2.ColorJitter(0.1, 0.1, 0.1, 0.02)] if tiny else [])
        + [v2.Normalize([0.49, 0.48, 0.45], [0.25, 0.24, 0.26])]
    )
    loader = torch.utils.data.DataLoader(
        Augmented(args.steps * args.batch_size, side, transform),
        batch_size=args.batch_size,
        shuffle=True,
        num_workers=2,
        persistent_workers=True,
        pin_memory=args.device == "cuda",
    )

    def epoch() -> None:
        for images, _ in loader:
            images.to(args.device, non_blocking=True)

    return epoch


def make_step(args: argparse.Namespace):
    """Returns a function without arguments that does one step of the chosen mode."""
    device = torch.device(args.device)
    memory_format = torch.channels_last if args.mode.endswith("channels-last") else torch.contiguous_format
    if args.model == "resnet18":
        model, side = ResNet18(), 32
    else:
        import torchvision

        model, side = getattr(torchvision.models, args.model)(num_classes=10), 224
    model = model.to(device, memory_format=memory_format)
    images = torch.randn(args.batch_size, 3, side, side, device=device).to(memory_format=memory_format)
    labels = torch.randint(10, (args.batch_size,), device=device)
    if args.mode.startswith("fisher"):
        return fisher_step(model, images, labels, with_vmap=args.mode == "fisher-vmap")
    if args.mode == "regun-epoch":
        return regun_epoch(model, args.batch_size, device)

    def forward() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16-mixed" and model.training):
            return model(images)

    if args.mode.startswith("eval"):
        model.eval()
        return torch.inference_mode()(forward)

    # The learning rate is small, so that repeated steps on one batch do not diverge.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward().float(), labels).backward()
        optimizer.step()

    return train


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--steps", type=int, default=5, help="steps per `go` (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before `ready` (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="32", choices=["32", "bf16-mixed"])
    parser.add_argument("--model", default="resnet18", choices=["resnet18", "swin_t", "vit_b_16"])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    # A round of the pipeline is one epoch, so that the workers prepare no batches before `go`.
    is_pipeline = args.mode.startswith("pipeline")
    step = make_epoch(args) if is_pipeline else make_step(args)
    repeats = 1 if is_pipeline else args.steps

    def timed(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed(1 if is_pipeline else args.warmup)
    facts = {
        "mode": args.mode,
        "model": args.model,
        "steps": args.steps,
        "images": args.steps * args.batch_size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else "cpu",
    }
    print("ready", json.dumps(facts), flush=True)
    for line in sys.stdin:
        if line.strip() != "go":
            print(f"baseline.py: expected the line 'go', got {line.strip()!r}", file=sys.stderr)
            sys.exit(2)
        print(f"{timed(repeats):.6f}", flush=True)


if __name__ == "__main__":
    main()
