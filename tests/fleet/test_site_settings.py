"""Salt as sites configure it: other people's pillar, slips on the command line, options of master and minion."""

import json

import pytest
from polling import until
from releases import release
from sweeps import sampled


@pytest.fixture
def site(fleet, web1):
    """A function that adds to the site's pillar; afterwards it is as before."""
    yield lambda pillar: fleet.heal(False, pillar)
    fleet.heal(False)


@pytest.mark.parametrize("key", sampled(["port: 27017", 'version: "1.1"', 'version: {logstash: "6"}'], "port: 27017"))
def test_top_level_keys_of_a_site_are_other_peoples(web1, site, key):
    site(f"{key}\n")
    assert web1.highstate().green().changed == []
    web1.assert_serves("1.0")
    web1.assert_answers("1.0", 8000)


SLIPS = {
    "version=1.1": "version=1.1 is not an argument of state.apply",
    'pillar={"verison": "1.1"}': "verison in the pillar of this call is an unknown key; did you mean version?",
    'pillar={"Version": "1.1"}': "Version in the pillar of this call is an unknown key; did you mean version?",
    'pillar={"globoap": {"port": 1}}': "globoap in the pillar of this call is an unknown key; did you mean globoapp?",
    'pillars={"version": "1.1"}': "pillars= is not an argument of state.apply, which ignores it: did you mean pillar=?",
}


@pytest.mark.parametrize("slip", sampled(SLIPS, *list(SLIPS)[:2]))
def test_slips_on_the_command_line_are_named(web1, slip):
    done = web1.fleet.salt("--out=json", "web1", "state.apply", "globoapp", slip)
    assert done.returncode != 0
    assert SLIPS[slip] in json.dumps(json.loads(done.stdout), ensure_ascii=False).replace('\\"', '"')
    web1.assert_serves("1.0")


def test_what_passes_with_the_call_is_told(web1):
    run = web1.apply(environment={"A": "1"})
    assert "environment came with this call alone: the next highstate goes by pillar" in run.text
    web1.highstate().green()


@pytest.fixture
def master(fleet, web1):
    """A function that configures the master, restarts it, and waits until web1 answers; afterwards it is as before."""

    def configure(text):
        fleet.exec("master", "sh", "-c", "cat > /etc/salt/master.d/site.conf", input=text, check=True)
        fleet.exec("master", "systemctl", "restart", "salt-master", check=True)
        until(lambda: web1.fleet.awake("web1"), 120)

    yield configure
    configure("")


def test_a_master_that_trims_blocks_and_fails_hard(web1, master, tmp_path):
    both = "{trim_blocks: True, lstrip_blocks: True}"
    master(f"failhard: True\njinja_env: {both}\njinja_sls_env: {both}\n")
    web1.deploy("1.1")
    web1.assert_serves("1.1")
    with release(tmp_path, "9.80", before="import nowhere\n"):
        run = web1.apply("9.80", deadline=5)
    assert "No module named 'nowhere'" in run.failed
    assert (web1.ledger()[-1]["version"], web1.ledger()[-1]["result"]) == ("9.80", "failed")
    web1.assert_serves("1.1")
    web1.deploy("1.0")


def test_a_minion_in_test_mode_says_that_it_did_nothing(web1):
    web1.deploy("1.1")
    conf = "/etc/salt/minion.d/test-mode.conf"
    try:
        web1.restart_minion(f"echo 'test: True' > {conf}")
        said = web1.call("globoapp.rollback")
        assert (said["result"], "test: True" in said["comment"]) == (False, True)
        assert web1.call("globoapp_minion.heal")["result"] == "refused"
        web1.assert_serves("1.1")
    finally:
        web1.restart_minion(f"rm {conf}")


def test_a_minion_without_processes_of_its_own_for_jobs(web1):
    conf = "/etc/salt/minion.d/threads.conf"
    try:
        web1.restart_minion(f"echo 'multiprocessing: False' > {conf}")
        for version in ("1.1", "1.0"):
            web1.deploy(version)
        assert web1.call("globoapp.rollback")["result"] is True
        web1.assert_serves("1.1")
    finally:
        web1.restart_minion(f"rm {conf}")


def test_limits_and_accounts_of_pillar_hold(alone):
    web2 = alone("web2")
    web2.sh("groupadd --gid 4321 web-team")
    try:
        web2.deploy(
            "2.0", workers=3, threads=2, memory_max="256M", cpu_quota="150%", tasks_max=64, umask="0027",
            access_log=True, user="web-app", uid=4320, group="web-team",
        )  # fmt: skip
        pid = web2.main_pid("2.0")
        shown = web2.sh("systemctl show -p MemoryMax,CPUQuotaPerSecUSec,TasksMax globoapp@PACK2_0.service")
        assert set(shown.splitlines()) == {"MemoryMax=268435456", "CPUQuotaPerSecUSec=1.500000s", "TasksMax=64"}
        workers = web2.sh(f"ps -o pid= --ppid {pid}").split()
        assert len(workers) == 3
        for each in (pid, *workers):
            status = web2.sh(f"cat /proc/{each}/status")
            assert dict(line.split(":\t") for line in status.splitlines())["Umask"] == "0027"
            assert web2.sh(f"ps -o uid=,gid= -p {each}").split() == ["4320", "4321"]
        assert web2.get("/status/?seen=in-the-journal")[0] == 200
        until(lambda: "GET /status/?seen=in-the-journal" in web2.sh("journalctl --unit 'globoapp@*' --lines 50"))
    finally:
        web2.wipe()
        web2.sh("userdel web-app 2>/dev/null; groupdel web-team", check=False)
