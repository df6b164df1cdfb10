#!/usr/bin/env bash
# Pillow: grey JPEG 2000 of 9 to 15 bits is handed out multiplied, 12 bits by 16, and nothing says by how much.
#
# A 12-bit scan (medical JPEG 2000) or a 15-bit satellite band is opened as mode `I;16`, with every value moved up until
# 16 bits are filled: 900 becomes 14,400. A PNG or TIFF of the same 12-bit values is handed out as it is, so a threshold
# or a window in the data's own units is right for one file and wrong for the other. Mode and `info` are the same as those
# of a 16-bit file. Written and read back by imagecodecs, which gives the values themselves.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "pillow==13.0.0" "imagecodecs==2026.3.6" "numpy==2.4.2"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import io
import sys

import imagecodecs
import numpy as np
import PIL
from PIL import Image

values = np.tile(np.array([0, 900, 1200, 4095], np.uint16), (8, 2))
print(f"Pillow {PIL.__version__}, imagecodecs {imagecodecs.__version__}, Python {sys.version.split()[0]}")
read = {}
for bits in (12, 16):
    data = imagecodecs.jpeg2k_encode(values, level=0, bitspersample=bits, reversible=True, codecformat="jp2")
    image = Image.open(io.BytesIO(data))
    own, read[bits] = imagecodecs.jpeg2k_decode(data)[0, :4].tolist(), np.asarray(image)[0, :4].tolist()
    print(f"{bits} bits: in the file {own}, mode {image.mode}, info {image.info}, pixels {read[bits]}")
buffer = io.BytesIO()
Image.fromarray(values).save(buffer, format="TIFF")
print(f"the same as a TIFF: pixels {np.asarray(Image.open(buffer))[0, :4].tolist()}")
as_described = read == {12: [0, 14_400, 19_200, 65_520], 16: [0, 900, 1200, 4095]}
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
