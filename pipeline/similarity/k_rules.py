"""How many neighbours: the histogram rules that choose k from the number of rows, exactly, with integers."""

from __future__ import annotations

import math

from structure.store.errors import StructureError, unknown

RULES = ("rice", "sqrt", "sturges")


def k_of(rule: str | int, rows: int) -> int:
    """k for `rows` rows: "rice" = ceil(2 n^(1/3)), "sqrt" = ceil(n^(1/2)), "sturges" = ceil(log2 n) + 1, or the
    number itself.

    Rice is the rule of STRUCTURE (arXiv 2506.16895, section 3): 35 at 5,000 rows. Raises StructureError for an
    unknown rule, a k below 1, or fewer than k + 1 rows.
    """
    if isinstance(rule, str) and not rule.lstrip("-").isdigit():
        k = _by_rule(rule, rows)
    else:
        k = int(rule)
    if k < 1:
        raise StructureError(f"k is {k}: a row needs at least one neighbour. Pass --k rice, or a number of 1 or more.")
    if rows < k + 1:
        raise StructureError(
            f"k = {k} neighbours of each row need at least {k + 1} rows, because a row is not its own neighbour; "
            f"there are {rows}. Pass --k {max(rows - 1, 1)} or less, or extract more rows."
        )
    return k


def require_rule(rule: str) -> None:
    """Raises StructureError for a rule that is none."""
    if rule not in RULES:
        raise unknown("rule for k", rule, RULES, hint="A number is accepted too.")


def _by_rule(rule: str, rows: int) -> int:
    if rule == "rice":
        k = int((8 * rows) ** (1 / 3))
        while k**3 < 8 * rows:
            k += 1
        while (k - 1) ** 3 >= 8 * rows:
            k -= 1
        return k
    if rule == "sqrt":
        return math.isqrt(max(rows - 1, 0)) + 1
    require_rule(rule)
    return max(rows - 1, 0).bit_length() + 1
