"""Medians with ranges, and the tables that are made of them: pure functions."""

import statistics


def middle(values):
    """Returns the median (float) of values; None where there are none."""
    return statistics.median(values) if values else None


def spread(values, digits=2):
    """Returns a median with its range as a text: `1.50 (1.42-1.97)`; `-` where there are no values."""
    if not values:
        return "-"
    lowest, median, highest = (f"{each:.{digits}f}" for each in (min(values), middle(values), max(values)))
    return median if lowest == highest else f"{median} ({lowest}-{highest})"


def column(entries, key):
    """Returns the values (list) of a key in figures [{key: value}]; those that have none are left out."""
    return [each[key] for each in entries if key in each]


def table(head, rows):
    """Returns a Markdown table (str) of a head (list of str) and rows (lists of str)."""
    lines = ["| " + " | ".join(map(str, each)) + " |" for each in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def ratio(value, base):
    """Returns how many times base value is; None where either is missing."""
    return value / base if value is not None and base else None
