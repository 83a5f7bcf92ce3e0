"""The plots of what the benchmarks have seen: pure functions."""

import plot
import report
from figures import column, middle


def all_of(known):
    """Returns {file name: SVG} of what is known: {part: data}."""
    return {f"bench-{part}.svg": make(known[part]) for part, make in PARTS.items() if part in known}


def compare(data):
    """Wall seconds of each tool in each row, with what clients lost."""
    groups, seen = [], data["seen"]
    for row in next(iter(seen.values())):
        entries = []
        for tool, figures in seen.items():
            walls, lost = column(figures[row], "wall"), middle(column(figures[row], "lost"))
            if walls and tool != report.LOOKS:
                more = f", {lost:.0f} requests lost" if lost else ""
                entries.append((tool, middle(walls), min(walls), max(walls), more))
        groups.append((row, entries))
    return plot.bars("The same deploys on the same server: seconds (median; the line is the range)", groups)


def phases(data):
    """The phases of each row, as one bar each."""
    rows = []
    for row, entries in data["seen"].items():
        names = dict.fromkeys(name for each in entries for name in each)
        rows.append((row, [(name, max(middle(column(entries, name)), 0)) for name in names]))
    return plot.stacked("Where the time of a deploy goes: seconds by phase (medians)", rows)


PARTS = {"compare": compare, "phases": phases}
