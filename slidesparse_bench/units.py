"""Units and how they are written. A name that carries a quantity carries its unit."""

from __future__ import annotations

GIB = 1024**3
MIB = 1024**2


def gib(number_of_bytes: float) -> float:
    """Bytes as GiB (2^30)."""
    return number_of_bytes / GIB


def format_gib(number_of_bytes: float) -> str:
    """Bytes as text: `12.3 GiB`, below a tenth of a GiB in MiB."""
    if abs(number_of_bytes) < GIB / 10:
        return f"{number_of_bytes / MIB:.1f} MiB"
    return f"{gib(number_of_bytes):.2f} GiB"


def format_duration(seconds: float) -> str:
    """Seconds as text: `4.2 s`, `3 min 05 s`, `2 h 07 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_rate(per_second: float) -> str:
    """A rate with four significant digits and thousands separators: `93,340`, `57.70`."""
    if per_second >= 1000:
        return f"{per_second:,.0f}"
    return f"{per_second:.4g}"
