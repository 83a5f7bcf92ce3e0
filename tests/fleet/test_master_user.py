"""A master as Salt's packages run it: by the account `salt`, with its sockets, keys and caches closed to others."""

import json

import pytest
from polling import until
from rolling import site, whole
from server import ROOT, Server

pytestmark = pytest.mark.long

DROP_IN = "/etc/systemd/system/salt-master.service.d"
CONFIG = "/etc/salt/master.d/packaged.conf"
KEYS = "/etc/salt/gpgkeys"
OWN = "/etc/salt/pki /var/cache/salt/master /var/log/salt"
# What Salt's packages do, and docs/security.md: `deployer` is in the group of the master, `stranger` is not.
ON = f"""
useradd --system --user-group --shell /usr/sbin/nologin salt
useradd --create-home --groups salt deployer
useradd --create-home stranger
cat > {CONFIG} <<'END'
user: salt
publisher_acl:
  deployer: &these
    - 'web*':
      - globoapp.(status|health|releases|history|rollback)
  stranger: *these
END
mkdir -p {DROP_IN}
cat > {DROP_IN}/acl.conf <<'END'
[Service]
ExecStartPost=/bin/chown deployer /var/cache/salt/master/.deployer_key
END
systemctl daemon-reload
mkdir -m 700 {KEYS}
gpg --homedir {KEYS} --batch --quiet --passphrase '' --quick-gen-key pillar@example.com 2>/dev/null
gpgconf --homedir {KEYS} --kill all
chown -R salt: {OWN} {KEYS}
chmod 750 /var/cache/salt/master
rm -rf /run/salt
systemctl restart salt-master
"""
OFF = f"""
rm -rf {CONFIG} {KEYS} {DROP_IN}
systemctl daemon-reload
systemctl stop salt-master
for name in deployer stranger salt; do pkill -KILL -u $name; userdel --force --remove $name; done 2>/dev/null
chown -R root: {OWN}
rm -rf /run/salt
systemctl restart salt-master
"""
ENCRYPT = f"gpg --homedir {KEYS} --armor --trust-model always --recipient pillar@example.com --encrypt 2>/dev/null"


@pytest.fixture(scope="module")
def master(fleet, serving_1_0):
    """The master (Server), which runs as `salt`."""
    fleet.heal(False, site())
    made = Server(fleet, "master")
    try:
        made.sh(f"set -e\n{ON}")
        until(lambda: fleet.awake("web1", "web2"), 120)
        yield made
    finally:
        made.sh(OFF, check=False)
        until(lambda: fleet.awake("web1", "web2"), 120)
        fleet.heal(False)


def test_it_runs_as_salt(master):
    assert master.sh("ps -o user= -p $(systemctl show -P MainPID salt-master)") == "salt"


def test_deploy_rollout_and_the_records(fleet, master):
    web1 = Server(fleet, "web1")
    web1.deploy("1.1")
    code, rolling = whole(fleet, "rollout", "version=1.0", "target=web*")
    assert code == 0, rolling.text
    web1.assert_serves("1.0")
    assert "web1" in json.dumps(fleet.runner("globoapp.inventory"))
    assert rolling.id in json.dumps(fleet.runner("globoapp.rollouts", "1"))


def test_who_is_in_the_group_may_call_what_the_list_names(master):
    asked = master.sh("su deployer -c 'salt --out=json web1 globoapp.releases'")
    assert "PACK1_0" in json.loads(asked)["web1"]
    assert "Authorization error" in master.sh("su deployer -c 'salt web1 state.apply globoapp' 2>&1", check=False)
    # docs/security.md says what somebody sees who is neither in the group nor has the key.
    said = master.sh("su stranger -c 'salt web1 globoapp.releases' 2>&1", check=False)
    assert "Authentication error occurred." in said, said


def test_a_secret_of_pillar_and_a_key_that_salt_cannot_read(fleet, master):
    web1 = Server(fleet, "web1")
    secret = fleet.exec("master", "sh", "-c", ENCRYPT, input="first\nsecond", check=True).stdout
    text = "".join(f"      {line}\n" for line in secret.splitlines())
    fleet.heal(False, f"#!yaml|gpg\ngloboapp:\n  prove: 0\n  soak: 0\n  environment:\n    SECRET: |\n{text}")
    run = web1.deploy("1.1")
    assert "BEGIN PGP" not in run.text and "second" not in run.text
    assert web1.sh("tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID globoapp@PACK1_1)/environ").count("second") == 1
    before = web1.main_pid("1.1"), len(web1.ledger())
    master.sh(f"chown -R root: {KEYS}")
    try:
        run = web1.apply("1.0")
        assert run.code != 0 and "BEGIN PGP" not in run.text, run.text
        # The minion may have had its pillar anew by now, with what Salt leaves as it is: to `status` that is a change.
        web1.assert_serves("1.1", but=[f"{ROOT}/.globoapp/PACK1_1.env differs"])
        assert (web1.main_pid("1.1"), len(web1.ledger())) == before
    finally:
        master.sh(f"chown -R salt: {KEYS}")
        fleet.heal(False, site())


def test_metrics_where_salt_may_not_write(master):
    said = master.sh("salt-run globoapp.metrics path=/root/globoapp.prom 2>&1; echo exit $?", check=False)
    assert "Traceback" not in said and "/root/globoapp.prom" in said and "exit 0" not in said, said


def test_the_fingerprint_of_the_page_is_that_of_the_minion(fleet, master):
    page = "sed '1d;$d' /etc/salt/pki/master/minions/web1 | sha256sum | sed 's/ .*//; s/../&:/g; s/:$//'"
    said = Server(fleet, "web1").sh("salt-call --local --out=json key.finger")
    assert master.sh(page) == json.loads(said)["local"]
