"""A server without an agent: salt-ssh, from a checkout and without a flag, to a real sshd."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import sshd
from load import Load
from machines import CHECKOUT
from polling import until
from releases import release
from server import MINION_OFF, QUICK, ROOT, run_of


class BySsh:
    """web2 by salt-ssh, typed in a checkout."""

    def __init__(self, server, checkout):
        self.server, self.checkout = server, checkout

    def type(self, words):
        """Runs salt-ssh as a person types it, and returns its CompletedProcess."""
        command = [str(Path(sys.executable).with_name("salt-ssh")), *shlex.split(words)]
        return subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, timeout=300)

    def ask(self, *words):
        """What web2 returned, and the exit code."""
        done = self.type(shlex.join(["--out=json", "web2", *words]))
        assert done.stdout.startswith("{"), done.stdout + done.stderr
        return json.loads(done.stdout)["web2"], done.returncode

    def apply(self, version=None, *words, **settings):
        """Deploys: the Run."""
        pillar = {"globoapp": {**QUICK, **settings}, **({"version": version} if version else {})}
        answer, code = self.ask("state.apply", "globoapp", f"pillar={json.dumps(pillar)}", *words)
        return run_of(code, answer)

    def assert_serves(self, version):
        status, code = self.ask("globoapp.status")
        assert (status["version"], status["differences"], code) == (version, [], 0), status
        self.server.assert_answers(version)
        assert self.server.left() == []


@pytest.fixture(scope="module")
def web(alone, tmp_path_factory):
    """web2, which has seen nothing, with sshd instead of a minion; afterwards it is as it was."""
    server, checkout = alone("web2"), tmp_path_factory.mktemp("checkout")
    for name in ("salt", "dist", "pillar"):
        (checkout / name).symlink_to(CHECKOUT / name)
    shutil.copy(CHECKOUT / "Saltfile", checkout)
    shutil.copytree(CHECKOUT / "etc", checkout / "etc")
    # What Salt writes goes away with the test.
    config = checkout / "etc/ssh/master"
    config.write_text(config.read_text().replace("root_dir: /\n", f"root_dir: {checkout}/root\n"))
    server.sh(MINION_OFF)
    try:
        sshd.install(server, checkout)
        roster = {"host": server.address, "user": "root", "priv": str(checkout / "key")}
        roster["ssh_options"] = [f"UserKnownHostsFile={checkout}/known_hosts"]
        (checkout / "etc/ssh/roster").write_text(json.dumps({"web2": roster}))
        yield BySsh(server, checkout)
    finally:
        sshd.remove(server)
        server.sh("systemctl start salt-minion; ! command -v sshd")
        until(lambda: server.fleet.awake("web2"), 120)


def test_the_first_deploy_as_a_person_types_it(web):
    done = web.type("""web2 state.apply globoapp pillar='{"version": "1.0"}'""")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "globoapp@PACK1_0.service serves 0.0.0.0:8000." in done.stdout
    assert "deploy of 1.0: success" in done.stdout
    web.assert_serves("1.0")
    assert web.server.sh("systemctl is-active salt-minion", check=False) == "inactive"


def test_a_second_run_has_nothing_to_do(web):
    lines = web.server.ledger()
    assert web.apply("1.0").green().changed == []
    assert web.apply().green().changed == [], "the version deployed last stays"
    assert web.server.ledger() == lines


def test_a_dry_run_changes_nothing(web):
    before = web.server.listing()
    run = web.apply("1.1", "test=True")
    assert (run.code, run.results) == (0, {True, None}), run.text
    assert "PACK1_1 would be put in place" in run.text
    assert web.server.listing() == before


def test_another_version_under_load_loses_nothing(web):
    with Load(web.server.url()) as load:
        web.apply("1.1", soak=1).green()
    load.assert_nothing_lost()
    web.assert_serves("1.1")


def test_what_cannot_be_deployed_is_refused_with_its_reason(web):
    before = web.server.listing()
    run = web.apply("9.9", prot=1)
    assert run.code != 0
    assert "globoapp:prot is an unknown setting" in run.failed
    run = web.apply("9.9")
    assert run.code != 0
    assert "version 9.9 is unknown" in run.failed
    assert "The source has 1.0, 1.1" in run.failed
    assert web.server.listing() == before
    web.assert_serves("1.1")


def test_rollback_sees_the_pillar_and_history_tells(web):
    answer, code = web.ask("globoapp.rollback")
    assert (answer["result"], answer["to"], code) == (True, "1.0", 0), answer
    web.assert_serves("1.0")
    history, _ = web.ask("globoapp.history", "limit=1")
    assert [(line["action"], line["version"], line["result"]) for line in history] == [("rollback", "1.0", "success")]


def test_a_release_that_fails_its_trial_is_told_and_switches_nothing(web, tmp_path):
    with release(tmp_path, "9.47", before="import nowhere\n"), Load(web.server.url()) as load:
        run = web.apply("9.47", deadline=5)
    load.assert_nothing_lost()
    assert run.code != 0
    assert "No module named 'nowhere'" in run.failed
    assert (web.server.ledger()[-1]["version"], web.server.ledger()[-1]["result"]) == ("9.47", "failed")
    web.assert_serves("1.0")


def test_a_function_that_fails_says_so_with_its_exit_code(web):
    web.server.sh(f"ln -sfn PACK1_1 {ROOT}/current")
    status, code = web.ask("globoapp.status")
    assert status["differences"] == ["current points to PACK1_1 instead of PACK1_0"]
    assert code != 0
    run = web.apply()
    assert "current" in run.green().changes
    answer, code = web.ask("globoapp.health", "app=shop")
    assert "app is 'shop': an unknown app" in answer
    assert code != 0


def test_maintenance_keeps_a_deploy_out(web):
    answer, code = web.ask("globoapp.maintenance", "on", "reason=a new disk", "until=1h")
    assert (answer["on"], answer["reason"], code) == (True, "a new disk", 0), answer
    run = web.apply("1.1")
    assert "a new disk" in run.failed
    assert run.code != 0
    assert web.ask("globoapp.maintenance", "off") == ({"on": False}, 0)


def test_where_psutil_did_not_come_along_it_says_what_to_type(web):
    web.server.sh("rm -r /var/tmp/.root_*_salt/py3/psutil")
    run = web.apply("1.1")
    assert "salt-ssh --wipe web1 test.ping" in run.failed
    assert run.code != 0
    answer, code = web.ask("globoapp.status")
    assert answer == run.failed
    assert code != 0
    assert web.type("--wipe web2 test.ping").returncode == 0
    assert web.server.sh("ls -d /var/tmp/.root_*_salt", check=False) == ""
    web.assert_serves("1.0")
