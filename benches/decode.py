#!/usr/bin/env python3
"""The Pillow program of the decoding benchmark: a child process that decodes a folder of images on request.

    decode.py decode FOLDER [--processes N]

Every JPEG below FOLDER goes through `Image.open(file).convert("RGB")` into an array in shared memory, so that no pixel
is sent from one process to another. The protocol is that of baseline.py.
"""

import argparse
import json
import multiprocessing
import sys
import time
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

SHAPE = (64, 64, 3)
FILES: list = []
PIXELS: np.ndarray


def decode(span: tuple) -> None:
    for i in range(*span):
        with Image.open(FILES[i]) as image:
            PIXELS[i] = np.asarray(image.convert("RGB"))


def main() -> None:
    global FILES, PIXELS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["decode"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--processes", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()

    FILES = sorted(args.folder.rglob("*.JPEG"))
    memory = multiprocessing.RawArray("B", len(FILES) * int(np.prod(SHAPE)))
    PIXELS = np.frombuffer(memory, np.uint8).reshape(len(FILES), *SHAPE)
    # The pieces are small, so that no process waits long for another at the end.
    piece = max(1, len(FILES) // (args.processes * 16))
    spans = [(start, min(start + piece, len(FILES))) for start in range(0, len(FILES), piece)]
    with multiprocessing.get_context("fork").Pool(args.processes) as pool:
        pool.map(decode, spans, chunksize=1)
        print("ready", json.dumps({"files": len(FILES), "processes": args.processes, "pillow": PIL.__version__}), flush=True)
        for line in sys.stdin:
            if line.strip() != "go":
                print(f"decode.py: expected the line 'go', got {line.strip()!r}", file=sys.stderr)
                sys.exit(2)
            start = time.perf_counter()
            pool.map(decode, spans, chunksize=1)
            print(f"{time.perf_counter() - start:.6f}", flush=True)


if __name__ == "__main__":
    main()
