#!/usr/bin/env bash
# scikit-learn: `preprocessing.normalize` turns float16 rows of norm 256 and more into zeros, without a warning.
#
# float16 is among the dtypes that it takes and returns. It adds the squares of a row in that dtype, where the sum of a
# row of norm 256 is infinite; the row is divided by it, and every number becomes 0. Features of vision transformers have
# such norms. Cosine similarities of these rows, and all neighbours by them, are those of zero vectors.
# `metrics.pairwise.cosine_similarity` of the same rows computes in float64 and is right.
#
# Exit code 0: it still behaves so; 1: it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
uv venv --quiet "$folder/env"
uv pip install --quiet --python "$folder/env/bin/python" "scikit-learn==1.9.1" "numpy==2.4.2"
cd "$folder"
"$folder/env/bin/python" - <<'EOF'
import sys
import warnings

import numpy as np
import sklearn
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.preprocessing import normalize

warnings.simplefilter("error")  # none comes
random = np.random.default_rng(0).standard_normal((3, 768))
norms = np.array([100.0, 250.0, 400.0])
rows = (random / np.linalg.norm(random, axis=1, keepdims=True) * norms[:, None]).astype(np.float16)

print(f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
units = normalize(rows)
lengths = np.linalg.norm(units.astype(np.float64), axis=1)
right = np.linalg.norm(normalize(rows.astype(np.float32)), axis=1)
print(f"norms of the rows:                       {np.linalg.norm(rows.astype(np.float64), axis=1).round(1)}")
print(f"after normalize() in {units.dtype}:           {lengths.round(3)}")
print(f"after normalize() of the same in float32: {right.round(3)}")
print(f"cosine of the last row with itself:       {cosine_similarity(rows)[2, 2]:.3f}")
as_described = (
    units.dtype == np.float16
    and np.allclose(lengths, [1, 1, 0], atol=0.01)
    and not units[2].any()
    and np.allclose(right, 1, atol=1e-5)
    and abs(cosine_similarity(rows)[2, 2] - 1) < 1e-3
)
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
EOF
