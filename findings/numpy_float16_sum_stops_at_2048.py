# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy==2.4.2"]
# ///
"""NumPy: a float16 sum over rows stops growing at 2,048 without a warning, and depends on the order in memory.

Along the last axis NumPy adds pairwise, so that 5,000 ones are 5,000. Along the first axis of a C-ordered array (the
rows of a feature matrix) it adds row by row in float16, where 2,048 + 1 is 2,048. The same array in Fortran order, or
its transpose copied, gives the right sum; `mean` over the same axis adds in float32 and is right, so that
`x.sum(axis=0) / n` and `x.mean(axis=0)` differ by a factor of 2.4.

Run: `uv run --no-project --script THIS_FILE`. Exit code 0: it still behaves so; 1: it does not.
"""

import sys
import warnings

import numpy as np

warnings.simplefilter("error")  # none comes
rows = np.ones((5000, 4), dtype=np.float16)

print(f"NumPy {np.__version__}, Python {sys.version.split()[0]}")
over_rows = rows.sum(axis=0)
other_order = np.asfortranarray(rows).sum(axis=0)
copied = np.ascontiguousarray(rows.T).sum(axis=1)
means = rows.mean(axis=0)
print(f"5,000 rows of ones in {rows.dtype}, C order:  sum(axis=0) {over_rows}")
print(f"the same in Fortran order:             sum(axis=0) {other_order}")
print(f"the transpose, copied:                 sum(axis=1) {copied}")
print(f"mean(axis=0) {means}, sum(axis=0) / 5000 {over_rows / 5000}")
right = (other_order == 5000).all() and (copied == 5000).all() and (means == 1).all()
as_described = right and (over_rows == 2048).all()
print("as described" if as_described else "it behaves otherwise now")
sys.exit(not as_described)
