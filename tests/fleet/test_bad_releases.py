"""Releases broken in different ways: the deploy is red and says why, and the old one serves every request."""

import pytest
from load import Load
from releases import release
from server import release_of
from sweeps import sampled

SICK_AFTER_SWITCH = """
import os, time
_born = time.monotonic()

@app.after_request
def sick(answer):
    late = "candidate" not in os.environ["RUNTIME_DIRECTORY"] and time.monotonic() - _born > 1.5
    if late and "health-check" in request.path:
        print("marker: it is sick now", flush=True)
        answer.status_code = 503
    return answer
"""
GONE_AFTER_SWITCH = """
import os, threading
print("marker: it will not stay", flush=True)
if "candidate" not in os.environ["RUNTIME_DIRECTORY"]:
    threading.Timer(1.5, os._exit, [1]).start()
"""
HANG = "import time\n@app.before_request\ndef hang():\n    print('marker: it hangs', flush=True)\n    time.sleep(60)\n"

BYE = "import os, threading\nprint('marker: bye', flush=True)\nthreading.Timer(2, os._exit, [1]).start()\n"

# What is wrong: (version, how the release is made, settings, what the deploy must say)
BEFORE_THE_SWITCH = {
    "a syntax error": ("9.1", {"after": "\ndef broken(:\n"}, {}, ["SyntaxError", "api.py"]),
    "an import that fails": ("9.2", {"before": "import nowhere\n"}, {}, ["No module named 'nowhere'"]),
    "a crash at boot": ("9.3", {"after": "\nraise RuntimeError('marker: no way')\n"}, {}, ["marker: no way"]),
    "a worker that boots for ever": (
        "9.4",
        {"after": "\nimport os\nprint('marker: again', flush=True)\nos.kill(os.getpid(), 9)\n"},
        {"deadline": 3},
        ["0 of 1 workers", "marker: again"],
    ),
    "a wrong answer": (
        "9.5",
        {"after": "\n@app.after_request\ndef wrong(answer):\n    answer.data = '{}'\n    return answer\n"},
        {"deadline": 2},
        ["status is None instead of 'NOT-FOUND'"],
    ),
    "a hang at boot": (
        "9.6",
        {"after": "\nimport time\nprint('marker: asleep', flush=True)\ntime.sleep(600)\n"},
        {"deadline": 3},
        ["0 of 1 workers", "marker: asleep"],
    ),
    "a hang at each request": (
        "9.7",
        {"after": HANG},
        {"deadline": 2, "timeout": 1},
        ["timed out", "marker: it hangs"],
    ),
    "an end after 2 s": (
        "9.8",
        {"after": BYE},
        {"prove": 3},
        ["did not stay", "marker: bye"],
    ),
    "another version in the answer": (
        "9.9",
        {"base": "1.1", "after": "\nVERSION = '1.1'\n", "health": {"json": {"status": "OK", "version": "9.9"}}},
        {"deadline": 2},
        ["version is '1.1' instead of '9.9'"],
    ),
}


@pytest.fixture(scope="module")
def web(alone):
    """web2 with 1.0 serving."""
    return alone("web2", "1.0")


def assert_evidence(web, version, words):
    """The failed release is kept, is marked, and its log holds its own words."""
    seen = web.call("globoapp.releases")[release_of(version)]
    assert seen["state"] == "failed"
    assert words[-1] in web.sh(f"cat {seen['log']}")
    line = web.ledger()[-1]
    assert (line["version"], line["result"]) == (version, "failed")
    assert words[0] in " ".join(line["failed"])


@pytest.mark.parametrize("fault", sampled(BEFORE_THE_SWITCH, "a syntax error", "a wrong answer", "an end after 2 s"))
def test_never_sees_a_request(web, tmp_path, fault):
    version, made, settings, words = BEFORE_THE_SWITCH[fault]
    before = web.main_pid("1.0")
    with release(tmp_path, version, **made), Load(web.url()) as load:
        outcome = web.apply(version, **settings)
    load.assert_nothing_lost()
    assert outcome.code != 0
    assert f"{version} failed its trial" in outcome.failed
    for word in words:
        assert word in outcome.failed
    assert_evidence(web, version, words)
    assert web.main_pid("1.0") == before
    web.assert_serves("1.0")


def test_one_that_sickens_after_the_switch_is_switched_back(web, tmp_path):
    with release(tmp_path, "9.10", after=SICK_AFTER_SWITCH), Load(web.url()) as load:
        outcome = web.apply("9.10", soak=5)
    load.assert_nothing_lost()
    assert outcome.code != 0
    for word in ("status 503 instead of 404", "marker: it is sick now", "Switched back: 1.0 serves again"):
        assert word in outcome.failed
    assert_evidence(web, "9.10", ["status 503", "marker: it is sick now"])
    web.assert_serves("1.0")


def test_one_that_ends_after_the_switch_is_switched_back(web, tmp_path):
    # Here requests that it held when it ended are lost: no deploy can save those.
    with release(tmp_path, "9.11", after=GONE_AFTER_SWITCH), Load(web.url()):
        outcome = web.apply("9.11", soak=5)
    assert outcome.code != 0
    assert "Switched back: 1.0 serves again" in outcome.failed
    assert_evidence(web, "9.11", ["is not healthy", "marker: it will not stay"])
    web.assert_serves("1.0")


def test_a_highstate_after_a_failed_deploy_stays_with_the_old(web):
    with Load(web.url()) as load:
        outcome = web.deploy(None)
    load.assert_nothing_lost()
    assert outcome.changed == []
    web.assert_serves("1.0")


def test_the_first_release_of_a_server_fails(web, tmp_path):
    web.wipe()
    with release(tmp_path, "9.12", before="import nowhere\n"):
        outcome = web.apply("9.12")
    assert outcome.code != 0
    assert "No module named 'nowhere'" in outcome.failed
    assert web.call("globoapp.status")["running"] == []
    web.deploy("1.0")
    web.assert_serves("1.0")


def test_the_first_release_of_a_server_sickens_after_the_switch(web, tmp_path):
    web.wipe()
    with release(tmp_path, "9.13", after=SICK_AFTER_SWITCH):
        outcome = web.apply("9.13", soak=5)
    assert outcome.code != 0
    assert "Nothing was deployed here before: it was stopped." in outcome.failed
    status = web.call("globoapp.status")
    assert (status["version"], status["running"], status["at_boot"]) == (None, [], [])
    assert not web.answers()
    assert web.sh("systemctl list-units --plain --no-legend 'globoapp*.socket'") == ""
    web.deploy("1.0")
    web.assert_serves("1.0")
