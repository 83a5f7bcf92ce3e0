"""Plots as SVG, written by hand: bars that read well in light and in dark."""

import html

COLOURS = ("#2f7ed8", "#e08a1e", "#3a9d5d", "#b04fa5", "#c94f4f", "#6b7fa3", "#8a7a3f", "#4aa3a3", "#d16f8f")
STYLE = """\
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.faint { fill: #656d76; font-size: 11px; }
.axis, .range { stroke: #8c959f; stroke-width: 1; }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3; } .faint { fill: #9198a1; } }
</style>
"""
LEFT, RIGHT, BAR, GAP, TOP, WIDTH = 150, 120, 15, 14, 40, 760


def bars(title, groups):
    """Returns an SVG (str) with a bar for each value, in seconds.

    Args:
        title: above it.
        groups: [(name, [(label, value, lowest, highest, more)])]; more (str) stands behind the value.
    """
    labels = list(dict.fromkeys(label for _, entries in groups for label, *_ in entries))
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)}
    longest = max((entry[3] for _, entries in groups for entry in entries), default=0) or 1
    scale, y, out = (WIDTH - LEFT - RIGHT) / longest, TOP, []
    for name, entries in groups:
        out.append(f'<text x="0" y="{y + BAR - 3}" class="title">{html.escape(name)}</text>')
        y += BAR + 4
        for label, value, lowest, highest, more in entries:
            end, middle = LEFT + value * scale, y + BAR / 2
            out.append(f'<text x="{LEFT - 8}" y="{y + BAR - 3}" text-anchor="end">{html.escape(label)}</text>')
            out.append(_bar(LEFT, y, value * scale, colours[label], f"{label}: {value:.2f} s"))
            if highest > lowest:
                ends = f'x1="{LEFT + lowest * scale:.1f}" x2="{LEFT + highest * scale:.1f}"'
                out.append(f'<line class="range" {ends} y1="{middle:.1f}" y2="{middle:.1f}"/>')
            text = html.escape(f"{value:.2f} s{more}")
            out.append(
                f'<text class="faint" x="{max(end, LEFT + highest * scale) + 6:.1f}" y="{y + BAR - 3}">{text}</text>'
            )
            y += BAR + 3
        y += GAP
    return _svg(title, y, out)


def stacked(title, rows):
    """Returns an SVG (str) with one bar for each row [(name, [(label, value)])], made of its parts."""
    labels = list(dict.fromkeys(label for _, parts in rows for label, _ in parts))
    colours = {label: COLOURS[place % len(COLOURS)] for place, label in enumerate(labels)}
    longest = max((sum(value for _, value in parts) for _, parts in rows), default=0) or 1
    scale, y, out, x = (WIDTH - LEFT - RIGHT) / longest, TOP, [], 0
    for label in labels:
        out.append(_bar(x, y, BAR, colours[label], label))
        out.append(f'<text x="{x + BAR + 4}" y="{y + BAR - 3}">{html.escape(label)}</text>')
        x += BAR + 22 + 7 * len(label)
    y += BAR + GAP
    for name, parts in rows:
        out.append(f'<text x="{LEFT - 8}" y="{y + BAR - 1}" text-anchor="end">{html.escape(name)}</text>')
        x = LEFT
        for label, value in parts:
            out.append(_bar(x, y, value * scale, colours[label], f"{label}: {value:.2f} s", BAR + 5))
            x += value * scale
        total = sum(value for _, value in parts)
        out.append(f'<text class="faint" x="{x + 6:.1f}" y="{y + BAR - 1}">{total:.2f} s</text>')
        y += BAR + 13
    return _svg(title, y, out)


def _bar(x, y, width, colour, said, height=BAR):
    size = f'x="{x:.1f}" y="{y}" width="{max(width, 0.5):.1f}" height="{height}"'
    return f'<rect {size} fill="{colour}"><title>{html.escape(said)}</title></rect>'


def _svg(title, height, inside):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
    head += f'aria-label="{html.escape(title)}">\n'
    name = f'<text class="title" x="0" y="18">{html.escape(title)}</text>\n'
    return head + STYLE + name + "\n".join(inside) + "\n</svg>\n"
