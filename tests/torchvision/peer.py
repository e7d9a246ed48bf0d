#!/usr/bin/env python3
"""torchvision's side of tests/torchvision.rs: runs given weights, and makes others.

One line each way, repeated until the input ends (stdin -> stdout, flushed):

    <model> <image size> <path>   ->   done

`path` is a safetensors file with a state dict and the entry `images`. The state dict is loaded with strict=True. Written
to `path` + ".answer" are the logits in eval mode (`logits`), and other weights of the same model under their names, with
their logits (`other_logits`). The file format is read and written here, because its package may not be there.
"""

import json
import math
import struct
import sys

import numpy as np
import torch
import torchvision

DTYPES = {"F32": np.float32, "I64": np.int64}


def read(path: str) -> dict[str, torch.Tensor]:
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        count = math.prod(entry["shape"])
        array = np.frombuffer(data, DTYPES[entry["dtype"]], count, entry["data_offsets"][0])
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]).copy())
    return tensors


def write(path: str, tensors: dict[str, torch.Tensor]) -> None:
    header, chunks, offset = {}, [], 0
    for name, tensor in tensors.items():
        chunk = tensor.detach().contiguous().numpy().tobytes()
        dtype = {torch.float32: "F32", torch.int64: "I64"}[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(chunk)]}
        chunks.append(chunk)
        offset += len(chunk)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for chunk in chunks:
            file.write(chunk)


def answer(name: str, image_size: int, path: str) -> None:
    options = {"image_size": image_size} if name.startswith("vit") else {}
    model = getattr(torchvision.models, name)(num_classes=10, **options).eval()
    state = read(path)
    images = state.pop("images")
    model.load_state_dict(state, strict=True)
    with torch.inference_mode():
        logits = model(images)
    # Weights that are nobody's initial values, so that no tensor can be taken for another one.
    torch.manual_seed(1)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.1 * torch.rand_like(tensor)).add_(0.005 * torch.randn_like(tensor))
    with torch.inference_mode():
        other_logits = model(images)
    write(path + ".answer", {**model.state_dict(), "logits": logits, "other_logits": other_logits})


torch.set_num_threads(1)
for line in sys.stdin:
    model_name, side, file_path = line.rstrip("\n").split(" ", 2)
    answer(model_name, int(side), file_path)
    print("done", flush=True)
