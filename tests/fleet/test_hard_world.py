"""What users, other programs and accounts of the host, and odd bytes do to a deploy: what serves goes on serving."""

import json
import socket
import urllib.request

import pytest
from polling import until
from releases import release
from server import ROOT
from sweeps import sampled
from test_bad_releases import SICK_AFTER_SWITCH


def comment(server, content_id, text="kept"):
    """Posts a comment, and fails the test unless it is acknowledged."""
    body = json.dumps({"email": "ann@example.com", "comment": text, "content_id": content_id}).encode()
    request = urllib.request.Request(
        f"{server.url()}/api/comment/new", body, {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


def kept(server, content_id):
    """Whether a comment is still there."""
    status, body = server.get(f"/api/comment/list/{content_id}")
    return status == 200 and "kept" in body


def test_a_client_cannot_occupy_what_the_health_check_asks(watched):
    pid = watched.main_pid("1.0")
    comment(watched, "globoapp-health-check")
    assert watched.call("globoapp.health", "deadline=0")["healthy"]
    # As long as the beacon would need to call it dead, and healing to start it afresh.
    looked = "cat /run/globoapp-looked 2>/dev/null || echo 0"
    begun = until(lambda: int(watched.sh(looked)))
    until(lambda: int(watched.sh(looked)) > begun + 6)
    assert watched.main_pid("1.0") == pid
    assert kept(watched, "globoapp-health-check")


def test_idle_clients_bring_no_restart_and_no_comment_is_lost(watched):
    pid = watched.main_pid("1.0")
    comment(watched, "before-idle")
    clients = [socket.create_connection((watched.address, 8000)) for _ in range(12)]
    try:
        for client in clients:
            client.sendall(b"G")  # they have begun to speak, and so hold a thread each
        until(lambda: kept(watched, "before-idle"), 60)
    finally:
        for client in clients:
            client.close()
    assert watched.main_pid("1.0") == pid
    assert "repair" not in [line["action"] for line in watched.ledger()[-1:]]
    # Before monitoring is switched off again: who looks no more says no more that it is well.
    until(lambda: not watched.fleet.runner("globoapp.alerts", "host=web1")["open"])


def test_another_account_cannot_hold_the_lock(web1):
    tried = web1.sh(f"su -s /bin/sh globoapp -c 'flock -n {ROOT}/.globoapp/lock true' 2>&1; echo $?")
    assert tried.splitlines()[-1] != "0" and "ermission denied" in tried
    web1.deploy("1.1")


def test_a_candidate_has_another_account_and_another_state(web1, tmp_path):
    after = """
import os, pathlib
if "candidate" in os.environ["RUNTIME_DIRECTORY"]:
    print("marker:", os.getuid(), os.environ["STATE_DIRECTORY"], os.access("/var/lib/globoapp", os.W_OK), flush=True)
    raise SystemExit(1)
"""
    live = web1.sh("id -u globoapp")
    with release(tmp_path, "9.70", after=after):
        run = web1.apply("9.70", deadline=5)
    (said,) = {line.split("marker: ")[1] for line in run.failed.splitlines() if "marker: " in line}
    uid, state, writable = said.split()
    assert (uid != live, state, writable) == (True, "/tmp", "False")
    web1.assert_serves("1.0")


def test_odd_bytes_in_a_log_do_not_stop_the_way_back(web1, tmp_path):
    odd = 'import sys; sys.stderr.buffer.write(b"caf\\xe9 \\x9b31m \\x85\\n"); sys.stderr.flush()'
    after = SICK_AFTER_SWITCH.replace('print("marker: it is sick now", flush=True)', odd)
    assert odd in after
    with release(tmp_path, "9.55", after=after):
        run = web1.apply("9.55", soak=4)
    assert "Switched back: 1.0 serves again." in run.failed
    assert "\x9b" not in run.failed and "\x85" not in run.failed
    web1.assert_serves("1.0")


def test_a_program_on_another_familys_loopback_is_in_nobodys_way(web1):
    squatter = "systemd-run --unit=squatter --collect /usr/bin/python3 -m http.server --bind ::1 8003"
    web1.sh(squatter)
    try:
        until(lambda: web1.sh("ss -Hltn 'sport = :8003'"))
        web1.deploy("1.0", port=8003)
        web1.assert_answers("1.0", 8003)
    finally:
        web1.sh("systemctl stop squatter")
        web1.deploy("1.0", port=8000)


def test_an_updated_interpreter_is_a_note_and_renewed_by_a_recorded_restart(web1):
    python = web1.sh("readlink -f /usr/bin/python3")
    web1.sh(f"cp -p {python} /usr/bin/p.new && mv /usr/bin/p.new {python}")
    health = web1.call("globoapp.health")
    assert health["healthy"] and "was updated since PACK1_0 had started" in health["notes"][0]
    assert web1.call("globoapp.status")["differences"] == []
    foretold = web1.apply(test=True)
    assert "was updated since" in foretold.changes and foretold.failed == ""
    web1.apply().green()
    assert web1.ledger()[-1]["action"] == "repair"
    assert "notes" not in web1.call("globoapp.health")


def test_what_only_moves_times_is_no_change(web1):
    pid = web1.main_pid("1.0")
    web1.sh(f"chown -R root:root {ROOT}; cp -al {ROOT}/PACK1_0 /opt/globoHUB/copy; rm -r /opt/globoHUB/copy")
    web1.sh(f"find {ROOT}/PACK1_0 -type f -exec touch -d '2 hours' {{}} +")
    assert web1.call("globoapp.status")["differences"] == []
    assert web1.apply().green().changed == []
    assert web1.main_pid("1.0") == pid


@pytest.mark.parametrize("umask", sampled(["027", "077"], "077"))
def test_a_tight_umask_of_a_shell_changes_nothing(alone, umask):
    web2 = alone("web2")
    pillar = '{"version": "2.0", "globoapp": {"prove": 0, "soak": 0}}'
    web2.sh(f"umask {umask}; salt-call state.apply globoapp pillar='{pillar}'")
    web2.assert_serves("2.0")
    assert web2.sh(f"stat -c %a {ROOT} {ROOT}/virtualenvs {ROOT}/PACK2_0 | sort -u") == "755"


def test_an_account_that_exists_is_used_as_it_is(alone):
    web2 = alone("web2")
    web2.sh("useradd -m -s /bin/bash -U deploy-me")
    before = web2.sh("getent passwd deploy-me")
    try:
        web2.deploy("1.0", user="deploy-me")
        assert web2.sh("getent passwd deploy-me") == before
        assert web2.sh(f"ps -o user= -p {web2.main_pid('1.0')}") in ("deploy-me", "deploy-+")
    finally:
        web2.wipe()
        web2.sh("userdel -r deploy-me 2>/dev/null || true")


def test_the_root_may_lie_behind_a_link(alone):
    web2 = alone("web2")
    web2.sh("rm -rf /opt/globoHUB; mkdir -p /srv/globoHUB; ln -sfn /srv/globoHUB /opt/globoHUB")
    try:
        for version in ("1.0", "1.1"):
            web2.deploy(version)
            assert web2.call("globoapp.status")["differences"] == []
        assert web2.call("globoapp.rollback")["to"] == "1.0"
    finally:
        web2.wipe()
        web2.sh("rm -rf /opt/globoHUB /srv/globoHUB")


# A page that wants more memory than its worker may have.
GREEDY = """
@app.route("/eat")
def eat():
    return str(len(bytearray(400 * 2**20)))
"""


@pytest.fixture
def little_memory(web1):
    """A function that lets a process have 200 MiB. The kernel's own controller is mounted for it: systemd has none in a
    lab machine."""
    group = "/run/memory/little"
    web1.sh(f"mkdir -p /run/memory && mount -t cgroup -o memory none /run/memory && mkdir {group}")
    web1.sh(f"echo {200 * 2**20} >{group}/memory.limit_in_bytes")

    def limit(pid):
        web1.sh(f"echo {pid} >{group}/cgroup.procs")

    limit.kills = lambda: int(web1.sh(f"awk '/^oom_kill /{{print $2}}' {group}/memory.oom_control"))
    yield limit
    web1.sh(f"rmdir {group}; umount /run/memory && rmdir /run/memory")


def test_a_worker_that_the_kernel_ends_for_its_memory_does_not_end_the_service(web1, little_memory, tmp_path):
    health = {"json": {"status": "OK", "version": "9.57"}}
    with release(tmp_path, "9.57", base="2.0", after=GREEDY, health=health):
        web1.deploy("9.57")
        pid = web1.main_pid("9.57")
        # What systemd does where it is told of it, which needs its memory controller.
        assert web1.sh("systemctl show -P OOMPolicy globoapp@PACK9_57.service") == "continue"
        comment(web1, "before-the-kill")
        for worker in web1.sh(f"ps -o pid= --ppid {pid}").split():
            little_memory(worker)
        assert web1.get("/eat")[0] is None
        assert little_memory.kills() >= 1
        until(lambda: kept(web1, "before-the-kill"))
        assert web1.main_pid("9.57") == pid
        web1.deploy("1.0")


def test_a_limit_of_the_site_holds_for_the_trial_too(web1):
    path, before = "/etc/systemd/system/globoapp@.service.d/limits.conf", web1.main_pid("1.0")
    web1.sh(f"printf '[Service]\\nLimitAS=30M\\n' >{path}; systemctl daemon-reload")
    try:
        done = web1.apply("1.1")
        assert "1.1 failed its trial: " in done.text
        assert web1.main_pid("1.0") == before
        web1.assert_serves("1.0")
    finally:
        web1.sh(f"rm {path}; systemctl daemon-reload")
    web1.deploy("1.1")
    web1.deploy("1.0")
