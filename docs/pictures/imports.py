#!/usr/bin/env python3
"""
Draws which module of globolib imports which: imports.svg, beside this file.

Rows are the layers of pyproject.toml, from the top down. An arrow that follows from others (run imports plan, plan
imports host, so run may import host) is left out. The same sources give the same bytes. Needs Python 3.11 or newer.
"""

import ast
import pathlib
import re
from collections import defaultdict
from html import escape

import tomllib

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "salt/_utils/globolib"

ROW, BOX, GAP, LETTER, MARGIN = 54, 26, 14, 7.4, 24  # pixels
LIGHT = ("#3b6ea8", "#a3563d", "#4b8050", "#7d5ba6", "#98782a", "#2f8486")
DARK = ("#6ea8e6", "#e08a6d", "#7fbf86", "#b594e0", "#d6b45a", "#5fc4c6")
STYLE = """
    svg { background: #ffffff }
    text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1f2733; text-anchor: middle }
    text.note { font: 12px Helvetica, Arial, sans-serif; fill: #5b6880; text-anchor: start }
    rect.box { fill: #f4f6fa; stroke: #5b6880 }
    rect.row { fill: #7f8ca3; opacity: 0.07 }
    path { fill: none; stroke-width: 1.4 }
"""
STYLE_DARK = """
      svg { background: #0d1117 }
      text { fill: #e6edf3 }
      text.note { fill: #9aa7b8 }
      rect.box { fill: #1b2330; stroke: #8b98ad }
"""


def colour_rules(colours):
    """Returns the CSS of the classes: `line0` ... for lines, `end0` ... for their ends."""
    return "".join(
        f"    .line{place} {{ stroke: {colour} }} .end{place} {{ fill: {colour} }}\n"
        for place, colour in enumerate(colours)
    )


def read_layers():
    """Returns the layers, the highest first: lists of modules."""
    with open(CHECKOUT / "pyproject.toml", "rb") as handle:
        contract = tomllib.load(handle)["tool"]["importlinter"]["contracts"][0]
    return [[name.strip() for name in re.split(r"[|:]", layer)] for layer in contract["layers"]]


def read_modules():
    """Returns ``({module: modules that it imports}, {module: first line of its docstring})``; a package is one."""
    imported, about = defaultdict(set), {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        name, tree = parts[0], ast.parse(path.read_text())
        if parts in ((name,), (name, "__init__")):
            about[name] = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module == "globolib":
                imported[name] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("globolib."):
                imported[name].add(node.module.split(".")[1])
    return {name: sorted((imported[name] - {name}) & set(about)) for name in sorted(about)}, about


def without_implied(imported):
    """Returns the imports (pairs) that do not follow from others."""
    reached = {}

    def reach(name):
        if name not in reached:
            reached[name] = set().union(*({below} | reach(below) for below in imported[name]))
        return reached[name]

    return [
        (name, below)
        for name in imported
        for below in imported[name]
        if not any(below in reach(other) for other in imported[name] if other != below)
    ]


class Drawing:
    """
    Rows of nodes: a module is its name; where lines to a module pass through a row, they share a place ``(module,
    row)``. ``links`` are (upper node, lower node), of neighbouring rows.
    """

    def __init__(self, layers, pairs):
        self.rows = [list(layer) for layer in layers]
        self.row_of = {name: number for number, layer in enumerate(layers) for name in layer}
        self.beside = sorted(pair for pair in pairs if self.row_of[pair[0]] == self.row_of[pair[1]])
        links = set()
        for upper, lower in pairs:
            at = upper
            for number in range(self.row_of[upper] + 1, self.row_of[lower]):
                if (lower, number) not in self.rows[number]:
                    self.rows[number].append((lower, number))
                links.add((at, (lower, number)))
                at = (lower, number)
            if self.row_of[lower] > self.row_of[upper]:
                links.add((at, lower))
        self.links = sorted(links, key=str)
        self.above, self.below = defaultdict(list), defaultdict(list)
        for upper, lower in self.links:
            self.below[upper].append(lower)
            self.above[lower].append(upper)
        self.order()
        self.x = self.place()

    def crossings(self):
        """How many links cross."""
        position = {node: place for row in self.rows for place, node in enumerate(row)}
        count = 0
        for row in self.rows:
            ends = [(position[node], position[lower]) for node in row for lower in self.below[node]]
            count += sum(a < c and b > d for a, b in ends for c, d in ends)
        return count

    def order(self):
        """Order each row by the middle of its neighbours, down and up again, and keep what crosses least."""
        best, fewest = [list(row) for row in self.rows], self.crossings()
        for sweep in range(60):
            down = sweep % 2 == 0
            neighbours = self.above if down else self.below
            for number in range(len(self.rows)) if down else reversed(range(len(self.rows))):
                position = {node: place / len(row) for row in self.rows for place, node in enumerate(row)}
                row = self.rows[number]
                middle = {
                    node: sum(position[other] for other in neighbours[node]) / len(neighbours[node])
                    if neighbours[node]
                    else position[node]
                    for node in row
                }
                row.sort(key=middle.__getitem__)
            if self.crossings() < fewest:
                best, fewest = [list(row) for row in self.rows], self.crossings()
        self.rows = best

    def place(self):
        """Returns {node: x of its middle}: near its neighbours, nothing on top of another."""
        x = {}
        for row in self.rows:
            for node, offset in zip(row, offsets(row), strict=True):
                x[node] = offset - offsets(row)[-1] / 2
        for sweep in range(200):
            for row in self.rows if sweep % 2 == 0 else reversed(self.rows):
                wanted, weights = [], []
                for node in row:
                    near = {other: weight(node, other) for other in (*self.above[node], *self.below[node])}
                    weights.append(sum(near.values()) or 0.01)
                    pull = sum(x[other] * near[other] for other in near)
                    wanted.append(pull / weights[-1] if near else x[node])
                x.update(zip(row, spread(wanted, weights, offsets(row)), strict=True))
        left = min(x[node] - width(node) / 2 for node in x)
        return {node: at - left + MARGIN for node, at in x.items()}

    def svg(self, about):
        """Returns the picture as text."""
        right = max(self.x[node] + width(node) / 2 for node in self.x) + MARGIN
        bottom = len(self.rows) * ROW + MARGIN
        lines = [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right:.0f} {bottom + 24}" '
            f'width="{right:.0f}" height="{bottom + 24}" role="img">',
            "  <title>The modules of globolib: each imports only what is below it</title>",
            f"  <style>{STYLE}{colour_rules(LIGHT)}    @media (prefers-color-scheme: dark) {{{STYLE_DARK}"
            f"{colour_rules(DARK)}    }}\n  </style>",
        ]
        targets = sorted({target(lower) for _, lower in self.links})
        colours = {name: place % len(LIGHT) for place, name in enumerate(targets)}
        for number in range(0, len(self.rows), 2):
            lines.append(f'  <rect class="row" x="0" y="{number * ROW + MARGIN / 2:.0f}" width="100%" height="{ROW}"/>')
        for upper, lower in self.links:
            lines.append(self.line(upper, lower, colours[target(lower)]))
        for number, row in enumerate(self.rows):
            for name in row:
                if not isinstance(name, str):
                    continue
                x, y = self.x[name], self.y(number)
                lines += [
                    f'  <g><title>{escape(about[name])}</title><rect class="box" x="{x - width(name) / 2:.1f}" '
                    f'y="{y:.0f}" width="{width(name):.1f}" height="{BOX}" rx="5"/>'
                    f'<text x="{x:.1f}" y="{y + 17.5:.1f}">{escape(name)}</text></g>'
                ]
                if self.above[name]:
                    tip = f"M{x - 4:.1f},{y - 7:.0f} L{x + 4:.1f},{y - 7:.0f} L{x:.1f},{y:.0f} Z"
                    lines.append(f'  <path class="end{colours[name]}" d="{tip}"/>')
        for upper, lower in self.beside:
            lines.append(self.side_arrow(upper, lower))
        note = "An arrow: imports. One that follows from others is left out. Rows: the layers of pyproject.toml."
        return "\n".join([*lines, f'  <text class="note" x="{MARGIN}" y="{bottom + 8}">{note}</text>', "</svg>", ""])

    def y(self, number):
        """The upper edge of the boxes of a row."""
        return number * ROW + MARGIN / 2 + (ROW - BOX) / 2

    def line(self, upper, lower, colour):
        """A link: from the lower edge of one box, or through its place in a row, to the upper edge of the next."""
        number = self.row_of[upper] if isinstance(upper, str) else upper[1]
        start, end = self.y(number) + BOX, self.y(number + 1) - (6 if isinstance(lower, str) else 0)
        a, b, middle = self.x[upper], self.x[lower], (start + end) / 2
        path = f"M{a:.1f},{start:.0f} C{a:.1f},{middle:.1f} {b:.1f},{middle:.1f} {b:.1f},{end:.0f}"
        if not isinstance(lower, str):
            path += f" V{end + BOX:.0f}"
        return f'  <path class="line{colour}" d="{path}"/>'

    def side_arrow(self, left, right):
        """An import inside a row."""
        toward = 1 if self.x[right] > self.x[left] else -1
        y = self.y(self.row_of[left]) + BOX / 2
        start, end = self.x[left] + toward * width(left) / 2, self.x[right] - toward * width(right) / 2
        tip = f"M{end - toward * 7:.1f},{y - 4:.0f} V{y + 4:.0f} L{end:.1f},{y:.0f} Z"
        return (
            f'  <path class="line0" d="M{start:.1f},{y:.0f} H{end - toward * 6:.1f}"/>\n'
            f'  <path class="end0" d="{tip}"/>'
        )


def target(node):
    """The module that a node is, or that lines through it lead to."""
    return node if isinstance(node, str) else node[0]


def weight(node, other):
    """How hard a link pulls: a line through several rows is to be straight."""
    return (1, 3, 12)[sum(not isinstance(end, str) for end in (node, other))]


def width(node):
    """How wide a node is."""
    return len(node) * LETTER + 18 if isinstance(node, str) else 2


def offsets(row):
    """How far right of the first node of a row each is, at least."""
    places = [0.0]
    for left, right in zip(row, row[1:], strict=False):
        places.append(places[-1] + (width(left) + width(right)) / 2 + GAP)
    return places


def spread(wanted, weights, least):
    """Positions as near as can be to the wanted ones, in this order and at least so far apart (least squares)."""
    blocks = []  # [weighted sum, weight, count] of neighbours that touch
    for want, pull, offset in zip(wanted, weights, least, strict=True):
        blocks.append([(want - offset) * pull, pull, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    shifts = [total / pull for total, pull, count in blocks for _ in range(count)]
    return [shift + offset for shift, offset in zip(shifts, least, strict=True)]


def main():
    """Write imports.svg."""
    layers, (imported, about) = read_layers(), read_modules()
    named = {name for layer in layers for name in layer}
    layers = [[name for name in layer if name in about] for layer in layers]
    layers[-1] += [name for name in about if name not in named]
    drawing = Drawing([layer for layer in layers if layer], without_implied(imported))
    pathlib.Path(__file__).with_suffix(".svg").write_text(drawing.svg(about))


if __name__ == "__main__":
    main()
