"""Version 3 on machines: comments in a PostgreSQL of another machine, its schema made by the release command."""

import json
import threading
import urllib.error
import urllib.request

import pytest
from load import Load
from polling import until
from releases import release
from server import Server, all_green, apply

HANGS = {"release_command": ["sleep", "600"]}


@pytest.fixture(scope="module")
def database(fleet, first_deploy):
    """The machine "db", whose address and DATABASE_URL the pillar of the site names; switched off afterwards."""
    fleet.run("up", "--web", "2", "--db")
    machine = Server(fleet, "db")
    settings = {
        "environment": {"DATABASE_URL": machine.sh("cat /root/database.url"), "COMMENTS_PER_MINUTE": 100000},
        "connect": [f"{machine.address}:5432"],
    }
    fleet.heal(False, f"globoapp: {json.dumps(settings)}\n")
    yield machine
    fleet.heal(False)
    fleet.cut("db")


@pytest.fixture(scope="module")
def servers(fleet, database, alone):
    """web1 and web2 with 3.0, deployed at once to servers that have seen nothing."""
    made = [alone("web1"), alone("web2")]
    all_green(apply(fleet, "web*", "3.0"))
    return made


def sql(database, statement):
    """What PostgreSQL answers to a statement: a list of lines."""
    return database.sh(f'cd / && su postgres -c "psql -Atc \\"{statement}\\" comments"').splitlines()


def post(server, comment, content="1"):
    """(status, body) of a new comment; (None, why) where there is no answer."""
    body = json.dumps({"email": "ann@example.com", "comment": comment, "content_id": content}).encode()
    asked = urllib.request.Request(
        f"{server.url()}/api/comment/new", body, {"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(asked, timeout=15) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        return None, str(error)


def ran(server):
    """How often the release command ran on a server, by its ledger."""
    return sum(1 for line in server.ledger() if line.get("release_command"))


class Poster:
    """Posts comments to a server while a `with` block runs; `acknowledged` are those that it took."""

    def __init__(self, server, content):
        self.server, self.content = server, content
        self.acknowledged, self.other, self.over = [], [], threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self._post)
        self.thread.start()
        until(lambda: self.acknowledged, 30)
        return self

    def _post(self):
        number = 0
        while not self.over.is_set():
            number += 1
            status, body = post(self.server, f"comment {number}", self.content)
            if status == 200:
                self.acknowledged.append(f"comment {number}")
            else:
                self.other.append((status, body))

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def stored(database, content):
    """The comments of a content in the database, oldest first."""
    return sql(database, f"select comment from comments where content_id = '{content}' order by id")


def test_two_servers_share_comments_and_a_schema(database, servers):
    web1, web2 = servers
    assert post(web1, "hello from web1", "shared")[0] == 200
    status, body = web2.get("/api/comment/list/shared")
    assert status == 200 and "hello from web1" in body
    assert sorted(ran(server) for server in servers) == [1, 1]  # the second one found nothing to do
    assert web1.get("/ready/")[0] == 200


def test_there_and_back_under_load_loses_nothing(database, servers):
    web1, _ = servers
    with Load(web1.url()) as load, Poster(web1, "switches") as poster:
        for version in ("3.1", "3.0", "3.1", "3.0"):
            web1.deploy(version)
    load.assert_nothing_lost()
    assert poster.other == []
    assert stored(database, "switches") == poster.acknowledged
    web1.assert_serves("3.0")


def test_a_rollback_does_not_run_it(servers):
    web1, _ = servers
    web1.deploy("3.1")
    before = ran(web1)
    assert web1.call("globoapp.rollback")["result"] is True
    web1.highstate().green()
    web1.deploy("3.0", port=8001)
    web1.deploy("3.0", port=8000)
    assert ran(web1) == before
    web1.assert_serves("3.0")


@pytest.mark.parametrize(
    ("fault", "mended"),
    [("systemctl restart postgresql", "true"), ("systemctl stop postgresql", "systemctl start postgresql")],
)
def test_a_database_that_goes_in_mid_deploy(database, servers, fault, mended):
    web1, _ = servers
    pid = web1.main_pid("3.0")
    with Poster(web1, fault) as poster:
        database.sh(fault)
        run = web1.apply("3.1")  # one that met the database in its absence failed and changed nothing
        database.sh(mended)
        until(lambda: web1.get("/ready/")[0] == 200, 60)
        taken = len(poster.acknowledged)
        until(lambda: len(poster.acknowledged) > taken, 60)
    if run.code:
        assert web1.main_pid("3.0") == pid
    else:
        web1.deploy("3.0")
    assert {status for status, _ in poster.other} <= {503}
    assert set(poster.acknowledged) <= set(stored(database, fault))
    web1.assert_serves("3.0")


def test_power_cut_of_the_database(fleet, database, servers):
    web1, _ = servers
    with Poster(web1, "cut") as poster:
        fleet.cut("db")
        try:
            until(lambda: poster.other, 60)
            assert web1.apply("3.1", release_timeout=20).code != 0
            assert web1.version() == "3.0"
        finally:
            fleet.boot("db")
        until(lambda: web1.get("/ready/")[0] == 200, 120)
        taken = len(poster.acknowledged)
        until(lambda: len(poster.acknowledged) > taken, 60)
    assert set(poster.acknowledged) <= set(stored(database, "cut"))
    web1.assert_serves("3.0")


def test_a_full_database_is_told_and_heals_by_itself(database, servers):
    web1, _ = servers
    where = "/var/lib/postgresql/small"
    database.sh(f"mkdir -p {where} && mount -t tmpfs -o size=4m,mode=0700 tmpfs {where} && chown postgres {where}")
    sql(database, f"create tablespace small location '{where}'")
    sql(database, "alter table comments set tablespace small")
    database.sh(f"head -c 8m /dev/zero > {where}/ballast || true")
    try:
        long = "x" * 9000
        until(lambda: post(web1, long, "full")[0] == 503, 120)
        web1.assert_answers("3.0")
        database.sh(f"rm {where}/ballast")
        until(lambda: post(web1, "fits again", "full")[0] == 200, 60)
    finally:
        database.sh(f"rm -f {where}/ballast")
        sql(database, "alter table comments set tablespace pg_default")
        sql(database, "drop tablespace small")
        database.sh(f"umount {where}")


@pytest.mark.parametrize(
    ("version", "command", "told"),
    [("3.6", ["alembic", "upgrade", "nowhere"], "nowhere"), ("3.7", ["sleep", "600"], "sleep 600")],
)
def test_a_migration_that_fails_or_hangs_switches_nothing(servers, tmp_path, version, command, told):
    web1, _ = servers
    pid = web1.main_pid("3.0")
    with release(tmp_path, version, base="3.1", release_command=command):
        run = web1.apply(version, release_timeout=5)
    assert run.code != 0 and told in run.failed
    assert web1.main_pid("3.0") == pid
    line = web1.ledger()[-1]
    assert (line["version"], line["result"]) == (version, "failed")
    web1.assert_serves("3.0")


def test_a_migration_that_is_cut_off_is_run_again(fleet, servers, tmp_path):
    web1, _ = servers
    with release(tmp_path, "3.8", base="3.1", **HANGS):
        pillar = json.dumps({"version": "3.8", "globoapp": {"prove": 0, "soak": 0}})
        fleet.salt("--async", "web1", "state.apply", "globoapp", f"pillar={pillar}")
        until(lambda: web1.sh("pgrep -x sleep || true"), 120)
        fleet.cut("web1")
        fleet.boot("web1")
    until(web1.answers, 60)
    web1.deploy("3.1")
    web1.deploy("3.0")
    web1.assert_serves("3.0")
