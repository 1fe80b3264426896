"""BCC's histograms as text, to the character: tables of counts by power of two, or by number, with bars of stars."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

STARS_MAX = 40
LOG2_INDEX_MAX = 65
LINEAR_INDEX_MAX = 1025


def stars(value: int, largest: int, width: int) -> str:
    """The bar for ``value``: ``width`` stars for ``largest``; a plus at the end says that it was cut."""
    if not largest:
        return ""
    # The count of stars is the number of i in [0, width) with i <= width * value / largest - 1.
    count = max(0, min(width, int(width * value / largest)))
    bar = "*" * count
    return bar[:-1] + "+" if value > largest else bar


def print_log2_hist(counts: Sequence[int], value_type: str, strip_leading_zero: bool | None) -> None:
    """One row for each power of two up to the last that is not empty."""
    last = max((i for i, v in enumerate(counts) if v > 0), default=-1)
    largest = max(counts, default=0)
    if last <= 32:
        header, body, width = "     %-19s : count     distribution", "%10d -> %-10d : %-8d |%-*s|", STARS_MAX
    else:
        header = "               %-29s : count     distribution"
        body, width = "%20d -> %-20d : %-8d |%-*s|", STARS_MAX // 2
    if last > 0:
        print(header % value_type)
    for i in range(1, last + 1):
        low, high = (1 << i) >> 1, (1 << i) - 1
        if low == high:
            low -= 1
        value = counts[i]
        if strip_leading_zero and not value:
            continue
        strip_leading_zero = False
        print(body % (low, high, value, width, stars(value, largest, width)))


def print_linear_hist(counts: Sequence[int], value_type: str, strip_leading_zero: bool | None) -> None:
    """One row for each number up to the last that is not empty."""
    last = max((i for i, v in enumerate(counts) if v > 0), default=-1)
    largest = max(counts, default=0)
    if last >= 0:
        print(f"     {value_type:<13} : count     distribution")
    for i in range(last + 1):
        value = counts[i]
        if strip_leading_zero and not value:
            continue
        strip_leading_zero = False
        print(f"        {i:<10} : {value:<8} |{stars(value, largest, STARS_MAX):<{STARS_MAX}}|")


def print_json_hist(counts: Sequence[int], value_type: str, section: tuple[str, Any] | None = None) -> None:
    """The power-of-two histogram as one dictionary."""
    from time import strftime

    last = max((i for i, v in enumerate(counts) if v != 0), default=0)
    rows, index, previous = [], 1, 0
    for i in range(1, last + 1):
        index *= 2
        rows.append({"interval-start": previous, "interval-end": index - 1, "count": int(counts[i])})
        previous = index
    histogram: dict[str, Any] = {"ts": strftime("%Y-%m-%d %H:%M:%S"), "val_type": value_type, "data": rows}
    if section is not None:
        histogram[section[0]] = section[1]
    print(histogram)
