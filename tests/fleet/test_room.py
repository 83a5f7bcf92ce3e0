"""A disk that is full, before a deploy and in the middle of one; and old releases that go to make room."""

import pytest
from load import Load
from releases import release
from server import ROOT


@pytest.fixture
def web(alone):
    """web2 with its root on a file system of its own, 160 MiB, 1.0 serving from there."""
    server = alone("web2")
    server.sh(f"mkdir -p {ROOT} && mount -t tmpfs -o size=160m,mode=0755 tmpfs {ROOT}")
    server.deploy("1.0", reserve=1)
    yield server
    server.wipe()


def fill(web, leave):
    """Fills the file system until `leave` MiB are free."""
    free = int(web.sh(f"df --output=avail -B1M {ROOT} | tail -1"))
    web.sh(f"fallocate -l {free - leave}M {ROOT}/filler")


def test_no_room_is_said_before_anything_is_touched(web):
    fill(web, 20)
    with Load(web.url()) as load:
        outcome = web.apply("1.1")
    load.assert_nothing_lost()
    assert outcome.code != 0
    assert f"no room on the disk of {ROOT}: " in outcome.failed
    assert "globoapp.prune keep=2" in outcome.failed
    assert [line["version"] for line in web.ledger()] == ["1.0"]
    web.assert_serves("1.0")


def test_the_disk_fills_while_a_release_is_unpacked(web, tmp_path):
    # What it holds is more than the room that it leaves, and nobody foresees the other writer.
    big = {"after": "\n# " + "".join(f"{number:x}" for number in range(600_000)) + "\n"}
    with release(tmp_path, "9.30", **big), Load(web.url()) as load:
        fill(web, 3)
        outcome = web.apply("9.30", reserve=0)
        web.sh(f"rm {ROOT}/filler")
        assert outcome.code != 0
        assert "No space left on device" in outcome.failed or "no room on the disk" in outcome.failed
        assert web.left() == []
        web.deploy(None, reserve=1)
    load.assert_nothing_lost()
    web.assert_serves("1.0")
    assert "PACK9_30" not in web.call("globoapp.releases")


def test_old_releases_go_by_keep(web, tmp_path):
    for number in (40, 41, 42):
        with release(tmp_path, f"9.{number}"):
            web.deploy(f"9.{number}", reserve=1)
    with release(tmp_path, "9.43"), Load(web.url()) as load:
        tried = web.apply("9.43", reserve=1, keep=2, test=True)
        assert "PACK9_41" in tried.changes
        assert "PACK9_40" in web.call("globoapp.releases")
        web.deploy("9.43", reserve=1, keep=2)
        assert web.deploy("9.43", reserve=1, keep=2).changed == []
    load.assert_nothing_lost()
    assert sorted(web.call("globoapp.releases")) == ["PACK9_42", "PACK9_43"]
    web.assert_serves("9.43")


def test_prune_by_hand(web, tmp_path):
    web.deploy("1.1", reserve=1)
    with release(tmp_path, "9.44"):
        web.deploy("9.44", reserve=1)
    planned = web.call("globoapp.prune", "keep=1", "test=True")
    assert planned["releases"] == ["PACK1_0"]
    assert web.call("globoapp.prune", "keep=1") == planned
    assert web.call("globoapp.prune", "keep=1") == {"releases": [], "virtualenvs": []}
    web.assert_serves("9.44")
