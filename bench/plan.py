"""Who does what in which round of bench/compare.py, and what is read out of what was seen: pure functions."""

import json

import report

PORT, OTHER_PORT = 8000, 8001
OLD, NEW, OTHER_LOCK = "1.0", "1.1", "2.0"
# In the order of a server's life: (row, how, version, port). A row that is not wanted is done unmeasured where later
# ones need it.
ROWS = (
    ("first deploy", "command", OLD, PORT),
    ("nothing to do", "nothing", OLD, PORT),
    ("version change", "command", NEW, PORT),
    ("rollback", "rollback", OLD, PORT),
    ("new lock", "command", OTHER_LOCK, PORT),
    ("change of port", "command", OTHER_LOCK, OTHER_PORT),
)
# Salt's own time belongs to them: empty runs are measured before each, under the same load.
BESIDE_EMPTY = ("nothing to do", "version change", "new lock")
# As it is by default it waits for eight seconds in most rows: a third of the rounds tells enough.
SELDOM = {report.LOOKS: 3}

# The phases of a job that bench/marks.py notes on the server.
IN_A_JOB = ("pillar", "sync", "settings", "render", "states")


def life(wanted):
    """Returns the entries of ROWS that are to be done so that all wanted rows (set of str) can be measured."""
    if not wanted & {row for row, *_ in ROWS}:
        return ()
    # All begin with a server that has something, and only what there was before can be gone back to.
    needed = {"first deploy", "version change"} if "rollback" in wanted else {"first deploy"}
    return tuple(each for each in ROWS if each[0] in wanted | needed)


def turns(names, number):
    """Returns the tools (list of str) of a round: in each another one begins. Some come seldom, and need no
    warm-up (round 0): they are others once more."""
    shifted = [names[(place + number) % len(names)] for place in range(len(names))]
    return [name for name in shifted if name not in SELDOM or (number and number % SELDOM[name] == 0)]


def silence(samples, begin, end):
    """Returns the longest time (seconds) between two answers, of samples [[start, seconds]] and two times."""
    ends = sorted(start + seconds for start, seconds in samples)
    pairs = [(before, after) for before, after in zip(ends, ends[1:], strict=False) if after >= begin and before <= end]
    return max((after - before for before, after in pairs), default=end - begin)


def durations(said):
    """Returns the seconds of the states in what `salt --out=json` said (str): {function: seconds}; {} without any."""
    found = {}
    try:
        for key, state in next(iter(json.loads(said).values())).items():
            words = key.split("_|-")
            function = f"{words[0]}.{words[-1]}"
            found[function] = round(found.get(function, 0) + state["duration"] / 1000, 4)
    except (ValueError, AttributeError, LookupError, TypeError, StopIteration):
        return {}
    return found


def phases(begin, end, marks):
    """Returns the seconds of a command by phase: {phase: seconds}, which together are all of its time.

    Args:
        begin, end: of the command.
        marks: what bench/marks.py has noted: [{"name", "pid", "begin", "seconds"}]; what belongs to other jobs is
            told by its process, as each job has one of its own.
    """
    inside = sorted((each for each in marks if begin <= each["begin"] <= end), key=lambda each: each["begin"])
    published = next((each["begin"] for each in inside if each["name"] == "publish"), begin)
    job = next((each for each in inside if each["name"] == "job" and each["begin"] >= published), None)
    if job is None:
        return {"salt begins": end - begin}
    own = [each for each in inside if each["pid"] == job["pid"]]
    returned = next((each["begin"] for each in own if each["name"] == "return"), end)
    took = {name: sum(each["seconds"] for each in own if each["name"] == name) for name in IN_A_JOB}
    # What the sls files call is part of rendering them.
    took["render"] -= took["sync"] + took["settings"]
    found = {"salt begins": published - begin, "publish": job["begin"] - published, **took}
    found["minion"] = returned - job["begin"] - sum(took.values())
    found["return"] = end - returned
    return {name: round(seconds, 4) for name, seconds in found.items()}
