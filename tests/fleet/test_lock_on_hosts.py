"""One deploy at a time on a host: the lock is the kernel's."""

import json
import subprocess

import pytest
from load import Load
from machines import CHECKOUT
from polling import until
from server import ROOT, pillar_of


@pytest.fixture(scope="module")
def web(alone):
    """web2 with 1.0 serving and 1.1 on it."""
    return alone("web2", "1.1", "1.0")


def apart(web, version, **settings):
    """Starts a deploy that Salt's own check for a running state.apply does not see; returns the Popen."""
    pillar = json.dumps(pillar_of(version, **settings))
    words = ["lab/fleet", "exec", web.name, "--", "salt-call", "--out=json", "--log-level=quiet"]
    words += ["--retcode-passthrough", "state.apply", "globoapp", "concurrent=True", f"pillar={pillar}"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=web.fleet.env)


def holder(web):
    """Returns who deploys on the server, as it says itself: a dict, or None."""
    return web.call("globoapp.deploying")


def test_one_waits_for_the_other_says_for_whom_and_goes_on_when_it_is_killed(web):
    with Load(web.url()) as load:
        first = apart(web, "1.1", soak=600)
        held = until(lambda: holder(web), 120)
        hasty = apart(web, "1.0", lock_wait=1)
        said = hasty.communicate()[0]
        assert hasty.returncode != 0
        assert "another deploy is under way on this host: deploy of 1.1" in said
        for word in (held["since"], str(held["jid"]), str(held["pid"]), "waited 1 s"):
            assert word in said
        patient = apart(web, "1.1", lock_wait=600)
        web.sh(f"kill -KILL {held['pid']}")
        assert first.wait() != 0
        first.stdout.close()
        said = patient.communicate()[0]
        assert patient.returncode == 0, said
    load.assert_nothing_lost()
    results = [(line["version"], line["result"]) for line in web.ledger()]
    assert results[-3:] == [("1.0", "success"), ("1.1", "interrupted"), ("1.1", "success")]
    web.assert_serves("1.1")


def test_what_is_written_in_the_lock_does_not_hold_it(web):
    # Words of a process that is gone, as a crash leaves them.
    web.sh(f"""echo '{{"what": "deploy of 6.6", "pid": 1, "jid": "1", "since": "then"}}' >{ROOT}/.globoapp/lock""")
    assert holder(web) is None
    web.deploy("1.0", lock_wait=0)
    web.assert_serves("1.0")
