"""
A deploy that is cut, at every step: the server serves the old or the new version, and the next run puts all right.

The points are what a deploy does to the file system, seen by inotify from outside (cutter.py), so that no code of the
product knows of being cut; and moments chosen at random. All 60 are swept by `make test-long`; `make test` takes 8 of
them, other ones each day. GLOBOAPP_CUTS is another count, GLOBOAPP_SEED another seed; both are printed.
"""

import json
import os
import random
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import pytest
from cuts import Cutter, power_cut
from load import Load
from polling import until
from server import ROOT, words
from sweeps import sampled

ALL, SAMPLE = 60, 8
SEED = int(os.environ.get("GLOBOAPP_SEED", time.strftime("%Y%m%d")))
OLD, NEW = "1.0", "2.0"

# What a deploy of NEW has brought, its virtualenv included, so that the next one takes each step again.
FORGET = f"""cd {ROOT} && rm -rf PACK2_0 .globoapp/releases/PACK2_0.json .globoapp/PACK2_0.env .globoapp/failed
rm -rf .globoapp/artifacts/globoapp-2.0.zip .globoapp/candidate/PACK2_0.env .globoapp/started/PACK2_0.json
for v in virtualenvs/[0-9a-f]*; do ls -l PACK*/.venv | grep -q $v || rm -rf $v; done"""


def started(web):
    """Starts a deploy of NEW, by the master."""
    salt, *rest = words(web.name, NEW, prove=0.3)
    web.fleet.run(salt, "--async", *rest)


def points_of_a_deploy(web):
    """Returns (points, seconds): what a whole deploy passes, and how long it takes."""
    cutter, begin = Cutter(web, "record", "-"), time.monotonic()
    started(web)
    seen = cutter.result()
    assert seen["ended"], seen
    seconds = time.monotonic() - begin
    until(lambda: web.ledger()[-1]["version"] == NEW)
    back(web)
    return seen["points"], seconds


def back(web):
    """OLD serves, and nothing of NEW is there."""
    if web.ledger()[-1]["version"] != OLD or web.ledger()[-1]["result"] != "success":
        web.deploy(OLD)
    web.sh(FORGET)


def plan(points, seconds, count):
    """Returns the cuts [(mode, point)]: every point of a deploy as far as they go, then random moments."""
    chance = random.Random(SEED)
    job, minion, power = round(count * 0.65), round(count * 0.1), round(count * 0.1)
    spread = [points[index * len(points) // min(job, len(points))] for index in range(min(job, len(points)))]
    cuts = [("job", point) for point in spread]
    cuts += [("minion", point) for point in chance.sample(points, min(minion, len(points)))]
    cuts += [("stop", point) for point in chance.sample(points, min(power, len(points)))]
    moments = [f"after {chance.uniform(0, seconds):.3f}" for _ in range(count - len(cuts))]
    return cuts + [("job", moment) for moment in moments]


def sample(cuts, count):
    """Returns so many of the cuts, at least one of each mode."""
    chance = random.Random(SEED)
    first = [chance.choice([one for one in cuts if one[0] == mode]) for mode in ("minion", "stop")]
    return first + chance.sample([one for one in cuts if one not in first], count - len(first))


def cut(web, mode, point, after):
    """One cut; returns (whether it came in time, what it came to). Raises AssertionError where the server is wrong."""
    cutter = Cutter(web, mode, point)
    started(web)
    seen = cutter.result()
    if mode == "stop":
        power_cut(web)
    if mode != "job":
        until(lambda: web.fleet.awake(web.name), 300)
    until(web.answers)
    serving = web.sh("ls /run/globoapp 2>/dev/null", check=False).split()
    assert set(serving) <= {"PACK1_0", "PACK2_0"}
    # What comes next on a server: the same deploy again, or a highstate that names no version.
    wanted = json.dumps({"globoapp": {"prove": 0.3, "soak": 0}} | ({"version": NEW} if after == "again" else {}))
    done = web.fleet.exec(
        web.name, "salt-call", "--log-level=quiet", "--out=json", "--retcode-passthrough", "state.apply", "globoapp",
        f"pillar={wanted}",
    )  # fmt: skip
    assert done.returncode == 0, f"exit code {done.returncode}: {done.stdout[-2000:]} {done.stderr[-1000:]}"
    entries = web.ledger()
    stands = [one for one in entries if one["result"] == "success"][-1]["version"]
    assert stands == NEW if after == "again" else stands in (OLD, NEW)
    web.assert_serves(stands)
    jid = seen.get("jid")
    words = [(one["result"], one["version"]) for one in entries if jid and one["jid"] == jid]
    assert len(words) <= 1, f"a deploy has more than one line in the ledger: {words}"
    back(web)
    where = seen.get("cut", f"{point} did not come")
    return (
        "cut" in seen,
        f"{where}; it served {' and '.join(serving)}; {after}: {stands}; ledger: {words}",
    )


class Sweep:
    """
    The cuts of one kind on both servers at once, under load.

    Args:
        cuts: [(mode, point)], any order.
        seconds: what a deploy takes, for the moments that take the place of a point which did not come.
    """

    def __init__(self, cuts, seconds):
        self.left, self.seconds = deque(cuts), seconds
        self.chance, self.spare = random.Random(SEED + 1), len(cuts)
        self.done, self.wrong, self.lost = 0, [], []

    def run(self, webs):
        """Makes the cuts."""
        with ThreadPoolExecutor(len(webs)) as pool:
            list(pool.map(self.server, webs))

    def server(self, web):
        """Makes cuts on one server until none is left."""
        times = []
        with Load(web.url(), rate=40, connections=8) as load:
            while self.left:
                mode, point = self.left.popleft()
                times.append((time.monotonic(), f"{mode} {point}"))
                try:
                    happened, what = cut(web, mode, point, "highstate" if len(times) % 3 else "again")
                except (AssertionError, pytest.fail.Exception) as error:
                    self.wrong.append(f"{web.name}: {mode} {point}: {error}")
                    print(f"WRONG: {self.wrong[-1]}", flush=True)
                    back(web)
                    continue
                self.done += happened
                print(f"{web.name}: {mode}: {what}", flush=True)
                if not happened and self.spare:
                    self.spare -= 1
                    if point.startswith("after "):  # the machine is less busy than it was, and a deploy is over sooner
                        self.seconds = min(self.seconds, max(1, float(point.removeprefix("after "))))
                    self.left.append((mode, f"after {self.chance.uniform(0, self.seconds * 0.8):.3f}"))
        assert load.seen["requests"] > 0
        self.lost += [f"lost at {_at(times, when)}: {kind}" for when, kind in load.seen["lost"]]


def _at(times, when):
    return next((what for begin, what in reversed(times) if begin <= when), "the beginning")


@pytest.fixture(scope="module")
def webs(alone):
    """web1 and web2 with 1.0 serving."""
    return [alone("web1", OLD), alone("web2", OLD)]


@pytest.mark.parametrize("count", sampled([SAMPLE, ALL], SAMPLE))
def test_cut_anywhere(webs, count, say):
    count = int(os.environ.get("GLOBOAPP_CUTS", count))
    say(f"GLOBOAPP_CUTS={count} GLOBOAPP_SEED={SEED}")
    points, seconds = points_of_a_deploy(webs[0])
    assert len(points) > 30, points
    cuts = plan(points, seconds, max(count, ALL))
    cuts = cuts if count >= ALL else sample(cuts, count)
    under_load = Sweep([one for one in cuts if one[0] != "stop"], seconds)
    under_load.run(webs)
    power = Sweep([one for one in cuts if one[0] == "stop"], seconds)
    power.run(webs)
    say(f"{under_load.done} cuts under load, {len(under_load.lost)} requests lost; {power.done} power cuts")
    assert under_load.wrong + power.wrong == []
    assert under_load.lost == []
    assert under_load.done + power.done >= count
