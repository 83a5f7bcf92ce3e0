"""bench/RESULTS.md out of bench/results.json: pure functions of what was seen."""

from figures import column, middle, ratio, spread, table

US, LOOKS, SHELL, ANSIBLE, PYINFRA, FORMULA = (
    "globoapp", "globoapp, 8 s of checks", "shell", "Ansible", "pyinfra", "Salt formula",
)  # fmt: skip
# What Salt takes for itself: what it is called in the figures, and in the tables.
EMPTY = {"empty_apply": "an empty `state.apply`", "empty": "a `state.single test.nop`"}
# A rollback says nothing of its states; it has those of a version change.
LIKE_ALL = "version change"
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
    seen, empty = data["seen"], {what: column(data.get(key, []), "wall") for key, what in EMPTY.items()}
    rows = list(next(iter(seen.values())))
    rounds = max((len(entries) for each in seen.values() for entries in each.values()), default=0)
    load = f"{min(data['load']):.1f} to {max(data['load']):.1f}" if data["load"] else "unknown"
    versions = ", ".join(f"{name} {version}" for name, version in {"Salt": data["salt"], **data["versions"]}.items())
    text = [
        "## The same deploys by other tools\n",
        f"{data['when']}, rounds: {rounds}, {data['processors']} processors for all machines, load average {load}. "
        f"{versions}.\n",
        "![Seconds of each deploy, by tool](../docs/pictures/bench-compare.svg)\n",
        "### Seconds\n",
        _by_tool(seen, rows, "wall"),
        "Empty runs, before rows of globoapp and as loaded: "
        + ("; ".join(f"{what} {spread(walls)} s" for what, walls in empty.items() if walls) or "none")
        + ".\n",
        *(f"Not counted: {failed}.\n" for failed in data.get("failed", ())),
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
    """The place of the first row in which clients ask."""
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

    rows = []

    def limit(what, row, most, base):
        found = ratio(wall(US, row), base)
        if found is not None:
            rows.append([what, f"at most {most}x", f"{found:.2f}x", _word(found <= most)])

    for what, nothing in ((what, middle(walls)) for what, walls in empty.items() if walls):
        limit(f"nothing to do, to {what}", "nothing to do", 1.3, nothing)
        for row, most in (("version change", 1.6), ("new lock", 1.5)):
            if wall(SHELL, row) is not None:
                limit(f"{row}, to {what} + shell", row, most, nothing + wall(SHELL, row))
    for row in seen.get(US, {}):
        found = ratio(wall(ANSIBLE, row), wall(US, row))
        if found is not None:
            rows.append([f"{row}, Ansible to globoapp", "at least 4x", f"{found:.1f}x", _word(found >= 4)])
    for other in (PYINFRA, FORMULA):
        for row, entries in seen.get(US, {}).items():
            if wall(other, row) is not None and wall(US, row) is not None:
                more, looks = wall(US, row) - wall(other, row), looking(entries) or looking(seen[US].get(LIKE_ALL, []))
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


def phases(data):
    """Where the time goes."""
    seen = data["seen"]
    names = list(dict.fromkeys(name for entries in seen.values() for each in entries for name in each))
    rounds = max(map(len, seen.values()))
    text = [
        "## Where the time goes\n",
        f"{data['when']}, rounds: {rounds}: seconds of globoapp's commands without trial and soak time, by phase; "
        "nobody asks meanwhile.\n`settings` and `sync` (is the tree's code on the server?) are done in rendering, and "
        "are counted apart; `minion` is what Salt does\nbesides in the job.\n",
        "![Seconds of each phase](../docs/pictures/bench-phases.svg)\n",
        table(["", *names], [[row, *_each(entries, names)] for row, entries in seen.items()]),
        "The states that take longest:\n",
        table(["", "seconds"], [[row, longest(took)] for row, took in data["states"].items() if any(took)]),
    ]
    return "\n".join(text)


def _each(entries, names):
    return [spread(column(entries, name)) for name in names]


def longest(took, most=4):
    """Returns the functions that take longest, with their median seconds, as a text; took is [{function: seconds}]."""
    names = {name for each in took for name in each}
    medians = sorted(((middle(column(took, name)), name) for name in names), reverse=True)
    return ", ".join(f"{name} {seconds:.2f}" for seconds, name in medians[:most])


def growth(data):
    """More servers."""
    head = ["", "servers", "seconds", "processor s of the master", "the same per server"]
    head += ["peak MiB of the master", "peak MiB of a server"]
    rows = []
    for way, by_count in data["seen"].items():
        for count, entries in by_count.items():
            control = column(entries, "control")
            each = [value / int(count) for value in control]
            rows.append([way, count, spread(column(entries, "wall")), spread(control), spread(each)])
            rows[-1] += [spread(column(entries, key), 0) for key in ("master", "memory")]
    text = (
        f"{data['when']}: a version change on all of them without trial and soak time, by `state.apply` at once, "
        f"and by a rollout, which stages and tries it first, then takes one server, then a quarter of them at a time; "
        f"{data['processors']} processors for all machines.\n"
    )
    return "\n".join(["## More servers\n", text, table(head, rows)])


def ledger(data):
    """A long history."""
    rows = []
    for words, by_lines in data["seen"].items():
        (few, short), (many, long) = by_lines.items()
        found = ratio(middle(long), middle(short))
        rows.append([words, spread(short), spread(long), f"{found:.2f}x", "1x"])
    head = ["", f"{int(few):,} deploys, seconds", f"{int(many):,} deploys, seconds", "ratio", "target"]
    return "\n".join(["## A long history in the ledger\n", f"{data['when']}.\n", table(head, rows)])


def rest(data):
    """Nothing happens."""
    head = ["", "minion, % of a core", "minion, MiB (PSS)", "master's machine, % of a core"]
    keys = (("minion", 2), ("memory", 0), ("master", 2))
    rows = [
        [name, *(spread(column(entries, key), digits) for key, digits in keys)]
        for name, entries in data["seen"].items()
    ]
    text = f"{data['when']}, {data['seconds']} s each, one server, without the highstate of every 30 minutes.\n"
    return "\n".join(["## At rest\n", text, table(head, rows)])


def faults(data):
    """Break to alert, break to healed."""
    rows = []
    for fault, entries in data["seen"].items():
        row = [fault, str(len(entries))]
        for key in ("alert", "healed"):
            found = [each[key] for each in entries if each.get(key) is not None]
            row += [f"{middle(found):.1f}", f"{max(found):.1f}"] if found else ["none", "-"]
        rows.append(row)
    head = ["fault", "rounds", "alert, median s", "worst", "first answer, median s", "worst"]
    text = f"{data['when']}. No alert: systemd was quicker than the probes.\n"
    return "\n".join(["## Broken, told, healed\n", text, table(head, rows)])


def records(data):
    """The master's records."""
    seen, servers = data["seen"], data["servers"]
    per_server = data["bytes"] / servers / 1024
    text = [
        f"## The master's records for {servers:,} servers with a day behind them\n",
        f"{data['when']}; of its day each server brought {data['deploys']} deploys and {data['alerts']} alerts.\n",
        table(
            ["", "seconds", "target", ""],
            [[name, spread(walls), "under 2 s", _word(middle(walls) < 2)] for name, walls in seen.items()],
        ),
        f"A report takes the master {spread([each * 1000 for each in data['reports']], 1)} ms. Memory of the process "
        f"at most: {data['memory'] / 2**20:.0f} MiB. Disk: {per_server:.1f} KiB per server and day, in "
        f"{data['files'] / servers:.1f} files; {data['minutes']} more reports of each server added "
        f"{data['grown'] / 1024:.0f} KiB in all.\n",
    ]
    return "\n".join(text)


PARTS = {"compare": compare, "phases": phases, "growth": growth, "ledger": ledger, "records": records}
PARTS |= {"rest": rest, "faults": faults}
