"""bench/RESULTS.md out of bench/results.json: pure functions of what was seen."""

from figures import column, middle, ratio, spread, table

US, LOOKS, SHELL, ANSIBLE, PYINFRA, FORMULA = (
    "globoapp", "globoapp, 8 s of checks", "shell", "Ansible", "pyinfra", "Salt formula",
)  # fmt: skip
LOOKING = ("globoapp.ready", "globoapp.tried", "globoapp.healthy")
HEAD = """\
# Measured

Made by `make bench`; [README](README.md) says what is measured and how. Medians of the rounds, with the lowest and the
highest. The raw figures are in [results.json](results.json).
"""


def document(known):
    """Returns the text of RESULTS.md, of what is known: {part: data}; a part that was not measured is left out."""
    parts = [HEAD, *(make(known[part]) for part, make in PARTS.items() if part in known)]
    return "\n".join(parts)


def compare(data):
    """The comparison of the tools."""
    seen, empty = data["seen"], column(data["empty"], "wall")
    rows = list(next(iter(seen.values())))
    rounds = max((len(entries) for each in seen.values() for entries in each.values()), default=0)
    load = f"{min(data['load']):.1f} to {max(data['load']):.1f}" if data["load"] else "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in {"Salt": data["salt"], **data["versions"]}.items())
    text = [
        "## The same deploys by other tools\n",
        f"{data['when']}, {rounds} rounds, {data['processors']} processors for all machines, load average {load}. "
        f"{versions}.\n",
        "![Seconds of each deploy, by tool](../docs/pictures/bench-compare.svg)\n",
        "### Seconds\n",
        _by_tool(seen, rows, "wall"),
        f"A `state.single test.nop`, which does nothing: {spread(empty)} s.\n",
        "### Requests lost (and the longest time without an answer, in seconds)\n",
        table(["", *rows[_loaded(rows) :]], [_lost(name, each, rows[_loaded(rows) :]) for name, each in seen.items()]),
        "### Processor seconds on the server\n",
        _by_tool(seen, rows, "server"),
        "### Processor seconds on the control machine\n",
        _by_tool(seen, rows, "control"),
        "### What was to be reached\n",
        table(["", "target", "measured", ""], targets(seen, empty)),
    ]
    return "\n".join(text)


def _loaded(rows):
    return 1 if rows[0] == "first deploy" else 0


def _by_tool(seen, rows, key):
    return table(
        ["", *rows], [[name, *(spread(column(each[row], key)) for row in rows)] for name, each in seen.items()]
    )


def _lost(name, each, rows):
    said = []
    for row in rows:
        lost, silence = column(each[row], "lost"), column(each[row], "silence")
        said.append(f"{spread(lost, 0)}; {spread(silence)}" if lost else "-")
    return [name, *said]


def targets(seen, empty):
    """Returns what was to be reached, as rows of a table: [what, target, measured, whether]."""

    def wall(tool, row):
        return middle(column(seen.get(tool, {}).get(row, []), "wall"))

    rows, nothing = [], middle(empty)

    def limit(what, row, most, base):
        found = ratio(wall(US, row), base)
        if found is not None:
            rows.append([what, f"at most {most}x", f"{found:.2f}x", _word(found <= most)])

    limit("nothing to do, to an empty run", "nothing to do", 1.3, nothing)
    for row, most in (("version change", 1.6), ("new lock", 1.5)):
        if nothing is not None and wall(SHELL, row) is not None:
            limit(f"{row}, to empty + shell", row, most, nothing + wall(SHELL, row))
    for row in seen.get(US, {}):
        found = ratio(wall(ANSIBLE, row), wall(US, row))
        if found is not None:
            rows.append([f"{row}, Ansible to globoapp", "at least 4x", f"{found:.1f}x", _word(found >= 4)])
    for other in (PYINFRA, FORMULA):
        for row, entries in seen.get(US, {}).items():
            if wall(other, row) is not None and wall(US, row) is not None:
                more, looks = wall(US, row) - wall(other, row), looking(entries)
                rows.append(
                    [f"{row}, globoapp less {other}", f"at most {looks:.2f} s", f"{more:+.2f} s", _word(more <= looks)]
                )
    lost = [each for tool in (US, LOOKS) for entries in seen.get(tool, {}).values() for each in column(entries, "lost")]
    if lost:
        rows.append(["requests lost by globoapp, all rounds", "0", str(sum(lost)), _word(not sum(lost))])
    return rows


def looking(entries):
    """Returns the seconds (median) that globoapp only looks in a row: whether it may, the trial, the answer."""
    took = [sum(each["states"].get(state, 0) for state in LOOKING) for each in entries if "states" in each]
    return middle(took) or 0


def _word(reached):
    return "reached" if reached else "**not reached**"


PARTS = {"compare": compare}
