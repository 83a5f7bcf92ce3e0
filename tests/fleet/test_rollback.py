"""The way back, and the proof of what serves."""

import json

import pytest
from load import Load
from releases import release
from server import ROOT


@pytest.fixture(scope="module")
def web(alone):
    """web1 with 1.0 and nothing else."""
    return alone("web1", "1.0")


def rollback(web, *words):
    """Runs globoapp.rollback as an operator does; returns (exit code, what it returned)."""
    done = web.fleet.salt("--out=json", web.name, "globoapp.rollback", *words)
    return done.returncode, json.loads(done.stdout)[web.name]


def test_nothing_to_go_back_to(web):
    code, said = rollback(web)
    assert (code, said["result"], said["to"]) == (1, False, None)
    assert "1.0 is the only good release on this host" in said["comment"]
    assert len(web.ledger()) == 1
    web.assert_serves("1.0")


def test_back_to_the_last_good_release_and_a_highstate_stays(web):
    web.deploy("1.1")
    with Load(web.url()) as load:
        code, said = rollback(web)
        assert (code, said["result"], said["from"], said["to"]) == (0, True, "1.1", "1.0")
        web.assert_serves("1.0")
        assert web.ledger()[-1]["action"] == "rollback"
        assert web.deploy(None).changed == []
    load.assert_nothing_lost()
    web.assert_serves("1.0")


def test_a_second_rollback_does_not_lead_back_to_what_was_fled(web):
    code, said = rollback(web)
    assert (code, said["to"]) == (1, None)
    web.assert_serves("1.0")


def test_to_any_release_on_the_host(web):
    with Load(web.url()) as load:
        code, said = rollback(web, "version=1.1")
    load.assert_nothing_lost()
    assert (code, said["result"], said["to"]) == (0, True, "1.1")
    web.assert_serves("1.1")


def test_not_to_one_that_is_not_there(web):
    code, said = rollback(web, "version=7.7")
    assert code != 0
    assert "version 7.7 is not on this host; there are: 1.0, 1.1" in said["comment"]
    web.assert_serves("1.1")


def test_after_a_failed_deploy_there_is_nothing_to_undo(web, tmp_path):
    with release(tmp_path, "9.20", before="import nowhere\n"):
        assert web.apply("9.20").code != 0
    code, said = rollback(web)
    assert (code, said["to"]) == (1, None)
    assert "9.20" in said["comment"]
    assert "1.1 went on serving" in said["comment"]
    web.assert_serves("1.1")


def test_a_tampered_file_is_seen_and_repaired_without_a_lost_request(web):
    web.sh(f"cd {ROOT}/PACK1_1 && echo x=1 >>api.py && touch extra.py && chmod 666 manifest.json")
    seen = web.call("globoapp.status")["differences"]
    for what in ("api.py was changed", "extra.py does not belong there", "manifest.json has owner 0:0 and mode 0666"):
        assert any(what in one for one in seen), seen
    assert web.code("globoapp.status") != 0
    with Load(web.url()) as load:
        outcome = web.deploy(None)
    load.assert_nothing_lost()
    assert "api.py was changed" in outcome.changes
    assert web.ledger()[-1]["action"] == "repair"
    web.assert_serves("1.1")


def test_another_executable_is_seen(web):
    # Something else than the release's own Python holds the main process's place.
    unit = "globoapp@PACK1_1.service"
    web.sh(f"""mkdir -p /run/systemd/system/{unit}.d
        printf '%s\\n' '[Service]' ExecStart= 'ExecStart=/bin/sh -c "systemd-notify --ready; sleep 600"' \\
            NotifyAccess=all >/run/systemd/system/{unit}.d/other.conf
        systemctl daemon-reload && systemctl restart {unit}""")
    seen = " ".join(web.call("globoapp.status")["differences"])
    assert "instead of" in seen
    assert "/bin/sh" in seen
    web.sh(f"rm -r /run/systemd/system/{unit}.d && systemctl daemon-reload && systemctl restart {unit}")
    assert web.deploy(None)
    web.assert_serves("1.1")
