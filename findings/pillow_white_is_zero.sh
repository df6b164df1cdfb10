#!/usr/bin/env bash
# Pillow: a grey TIFF in which white is zero is turned round at 8 bits and not at 16.
#
# PhotometricInterpretation 0 (WhiteIsZero) says that 0 is white; X-rays are often saved so. Pillow inverts such a file at
# 1, 2, 4 and 8 bits, so that every image it hands out has black at 0. At 16 bits it hands out the values as they
# stand: the same scan is a negative, while mode and `info` are those of any other.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "pillow==13.0.0" "numpy==2.4.2"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import io
import struct
import sys

import numpy as np
import PIL
from PIL import Image


def tiff(values: np.ndarray, photometric: int) -> bytes:
    """A little-endian uncompressed grey TIFF, as TIFF 6.0 section 4 has it."""
    height, width = values.shape
    fields = {256: width, 257: height, 258: values.itemsize * 8, 259: 1, 262: photometric, 273: 0, 277: 1, 278: height}
    fields[279] = values.nbytes
    start = 8 + 2 + 12 * len(fields) + 4
    fields[273] = start
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + b"\0" * 4 + values.tobytes()


print(f"Pillow {PIL.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
read = {}
for kind, white in ((np.uint8, 255), (np.uint16, 65535)):
    for photometric, meaning in ((1, "0 is black"), (0, "0 is white")):
        image = Image.open(io.BytesIO(tiff(np.array([[0, white]], kind), photometric)))
        read[kind, photometric] = np.asarray(image).tolist()[0]
        print(
            f"{np.dtype(kind).name:6} {meaning}: mode {image.mode:4} info {image.info} pixels {read[kind, photometric]}"
        )
as_described = read == {
    (np.uint8, 1): [0, 255],
    (np.uint8, 0): [255, 0],
    (np.uint16, 1): [0, 65535],
    (np.uint16, 0): [0, 65535],
}
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
