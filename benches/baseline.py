#!/usr/bin/env python3
"""The PyTorch side of the throughput benchmark: a child process that times steps when told to.

    baseline.py MODE [--steps K] [--threads N] [--batch-size B] [--device cpu|cuda:0] [--precision 32|bf16-mixed] ...

The network is ResNet-18 with the CIFAR stem (He et al. 2015, arXiv 1512.03385; 11,173,962 parameters for 10 classes),
built from torch.nn alone with the parameter names of torchvision. A step handles one batch of random 3x32x32 images
that stays where it is: no data loading, no augmentation, no logging.

MODE
    train                  zero the gradients, forward, mean cross entropy, backward, SGD step (momentum 0.9, Nesterov,
                           weight decay 5e-4)
    train-channels-last    the same with weights and images in channels-last memory order
    eval                   forward in eval mode under torch.inference_mode
    eval-channels-last     the same in channels-last memory order
All of it eager PyTorch with its defaults. `--precision bf16-mixed` runs the forward pass of training under autocast; evaluation stays float32.

Protocol, one line each way (stdin -> stdout, flushed):

    (start)        ->  ready {"mode": ..., "steps": K, "images": K * B, "threads": N, "torch": ..., "device": ...}
    go             ->  <seconds that K steps took, as a decimal number>
    end of input       ends the process with exit code 0

`ready` comes after the warm-up steps, so that several processes can be started, left waiting (a waiting process takes
no CPU time) and asked in turn: alternating them spreads slow changes of the machine, heat and neighbours, evenly over
what is compared. Anything else on a line is an error: a message on stderr, exit code 2.
"""

import argparse
import json
import sys
import time

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def make_step(args: argparse.Namespace):
    """A function without arguments that does one step of the chosen mode."""
    device = torch.device(args.device)
    memory_format = torch.channels_last if args.mode.endswith("channels-last") else torch.contiguous_format
    model = ResNet18().to(device, memory_format=memory_format)
    images = torch.randn(args.batch_size, 3, 32, 32, device=device).to(memory_format=memory_format)
    labels = torch.randint(10, (args.batch_size,), device=device)

    def forward() -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=args.precision == "bf16-mixed" and model.training):
            return model(images)

    if args.mode.startswith("eval"):
        model.eval()
        return torch.inference_mode()(forward)

    # A small rate: repeated steps on one batch must not leave the range of ordinary numbers.
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(forward().float(), labels).backward()
        optimizer.step()

    return train


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["train", "train-channels-last", "eval", "eval-channels-last"])
    parser.add_argument("--steps", type=int, default=5, help="steps per `go` (default 5)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before `ready` (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default 2)")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--precision", default="32", choices=["32", "bf16-mixed"])
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    step = make_step(args)

    def timed(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed(args.warmup)
    facts = {
        "mode": args.mode,
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
        print(f"{timed(args.steps):.6f}", flush=True)


if __name__ == "__main__":
    main()
