"""Quantities in words that fit a cell."""

from __future__ import annotations


def shown_bytes(size: float | None) -> str:
    """`1.2 TB`, `340 MB`, `0 B`; `unknown` for None. Powers of 1,000, as disks are sold."""
    if size is None:
        return "unknown"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if size < 999.5 or unit == "PB":  # three digits of more are 1,000
            break
        size /= 1000
    return f"{size:.3g} {unit}" if size < 1000 else f"{size:,.0f} {unit}"


def shown_time(seconds: float | None) -> str:
    """`4.1 years`, `3.2 d`, `2.5 h`, `4.1 min`, `12 s`, `3.1 ms`; `unknown` for None."""
    if seconds is None:
        return "unknown"
    if not seconds:
        return "0 s"
    for unit, length in (("years", 365.25 * 86_400), ("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= 2 * length or (unit == "s" and seconds >= 0.9995):
            count = seconds / length
            return f"{count:,.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms"
