#!/usr/bin/env python3
"""Packs scikit-learn's copy of the UCI digits into digits.bin.

    pip download --no-deps scikit-learn && python3 make_digits.py scikit_learn-*.whl digits.bin

Per image: one byte of class (0..9), then 64 bytes of pixels (0..16), row by row.
"""
import gzip
import sys
import zipfile

wheel, out = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    text = gzip.decompress(archive.read("sklearn/datasets/data/digits.csv.gz")).decode()

packed = bytearray()
for line in text.split():
    *pixels, label = (int(float(value)) for value in line.split(","))
    assert len(pixels) == 64 and max(pixels) <= 16 and 0 <= label <= 9
    packed += bytes([label, *pixels])
assert len(packed) == 1797 * 65

with open(out, "wb") as file:
    file.write(packed)
