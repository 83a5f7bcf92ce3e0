"""gunicorn's settings: how many workers `auto` is, and how many there are."""

import pytest
from globolib import observe, processes, serving
from globolib.errors import Failure
from globolib.serving import Capacity
from globolib.settings import Settings

GIB = 1 << 30


@pytest.mark.parametrize(
    ("processors", "memory", "workers"),
    [(1, GIB, 3), (2, 8 * GIB, 5), (8, GIB, 4), (1, GIB // 8, 1), (1, 0, 1), (200, 900 * GIB, 128)],
)
def test_auto_goes_by_processors_and_memory(processors, memory, workers):
    assert serving.auto_workers(Capacity(processors, memory)) == workers


def test_what_this_host_has():
    here = processes.capacity()
    assert here.processors >= 1
    assert here.memory > 100 * serving.MIB


@pytest.mark.parametrize(
    ("text", "single", "count"),
    [
        (None, False, 2),
        ("{}", False, 2),
        ('{"workers": null}', False, 2),
        ('{"workers": 4}', False, 4),
        ('{"workers": 4}', True, 1),
        ('{"workers": true}', False, 2),
        ("[]", False, 2),
        ("torn", False, 2),
    ],
)
def test_how_many_workers_there_are(text, single, count):
    assert serving.worker_count(text, single, 2) == count


# How the workers of a release change while it is watched: (ready, recycled) at each look, and whether that is right.
SEEN = {
    "they stay": ([([1, 2], [])] * 3, True),
    "one goes": ([([1, 2], []), ([1], [])], False),
    "another one comes": ([([1, 2], []), ([1, 2, 3], [])], False),
    "one is replaced": ([([1, 2], []), ([1, 3], [])], False),
    "one has answered its requests": ([([1, 2], []), ([1], [2]), ([1, 3], [2])], True),
    "and its successor crashes": ([([1], [2]), ([1, 3], [2]), ([1, 4], [2])], False),
}


@pytest.mark.parametrize("case", SEEN)
def test_workers_stay_unless_they_have_answered_their_requests(monkeypatch, case):
    looks, right = SEEN[case]
    looks = [*looks, looks[-1]]
    monkeypatch.setattr(observe.processes, "children", lambda pid: ())
    monkeypatch.setattr(observe.survey, "ready", lambda *args: tuple(looks[0][0]))
    monkeypatch.setattr(observe.survey, "recycled", lambda *args: set(looks.pop(0)[1]))
    monkeypatch.setattr(observe.health, "once", lambda *args: (None, None))
    monkeypatch.setattr(observe.waiting, "hold", lambda seconds, check, every: [check() for _ in looks[:-1]])
    arguments = (Settings(version="1.0"), "here", observe.Health(), 1, (1, 2), 5)
    if right:
        observe.stays(*arguments)
    else:
        with pytest.raises(Failure, match="its workers did not stay"):
            observe.stays(*arguments)


@pytest.mark.parametrize(("graceful", "seconds"), [(30, 60), (10, 60), (300, 600)])
def test_a_request_that_may_last_is_not_taken_for_a_stuck_worker(monkeypatch, graceful, seconds):
    given = []
    monkeypatch.setattr(observe.waiting, "until", lambda check, most: given.append(most))
    observe.is_stuck(Settings(version="1.0", graceful_timeout=graceful, deadline=20), "here", observe.Health())
    assert given == [seconds + 20]


# The server of these tests has one worker, whatever it is told.
WELL = 'def answer():\n    return 200, \'{"version": "1.0"}\'\n'
ONLY_AS_CANDIDATE = 'def answer():\n    return 200 if candidate else 500, \'{"version": "1.1"}\'\n'


def test_a_deploy_waits_for_the_workers_that_pillar_says(machine):
    machine.publish("1.0", WELL, workers=2)
    failed = machine.deploy("1.0", globoapp={"deadline": 1})
    assert "failed its trial: globoapp-candidate@PACK1_0.service: 1 of 2 workers have loaded the app" in failed.failure
    assert machine.deploy("1.0", globoapp={"workers": 1}).failure is None
    failed = machine.deploy("1.0", globoapp={"workers": 3, "deadline": 1})
    assert "1 of 3 workers have loaded the app" in failed.failure


def test_the_way_back_waits_for_the_workers_that_were_there(machine, monkeypatch):
    monkeypatch.setattr(processes, "capacity", lambda: Capacity(2, 8 * GIB))
    machine.publish("1.0", WELL, workers=2)
    assert machine.deploy("1.0", globoapp={"workers": 1}).failure is None
    machine.publish("1.1", ONLY_AS_CANDIDATE, single_process=True)
    done = machine.deploy("1.1", globoapp={"workers": "auto", "deadline": 1})
    assert "1.1 is not healthy" in done.failure
    assert done.failure.endswith("\nSwitched back: 1.0 serves again.")


def test_more_workers_in_pillar_than_a_version_can_have_are_refused(machine):
    machine.publish("1.0", WELL)
    (line,) = machine.begin("1.0", globoapp={"workers": 2}).problems
    assert line.startswith("workers is 2: 1.0 keeps its state in one process")
