"""A unix socket as `bind`, with real sockets: who listens, what is in the way, draining, a server that moves there."""

import contextlib
import os
import pathlib
import pwd
import socket
import stat
import tempfile
import threading

import pytest
from globolib import answers, checks, drain, heal, health, ledger, processes, rollback, systemd
from globolib.address import Address
from globolib.errors import Failure
from globolib.host import SOCKET, Listener
from globolib.monitor import incoming, inventory, metrics, probes
from globolib.settings import Settings
from watched import Watched


@pytest.fixture
def path():
    """Where a unix socket may be: its path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="sock-") as directory:
        yield f"{directory}/shop.sock"


@contextlib.contextmanager
def listening(path, kind=socket.SOCK_STREAM):
    """A socket that is bound to a path, and listens where it can."""
    with socket.socket(socket.AF_UNIX, kind) as server:
        server.bind(path)
        if kind == socket.SOCK_STREAM:
            server.listen()
        yield server


def connected(path):
    """A client."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(5)
    client.connect(path)
    return client


# Who listens, and what is at a path.


def test_a_listener_is_seen_and_what_it_has_accepted_is_none(path):
    with listening(path) as server, connected(path), server.accept()[0]:
        seen = processes.listeners(paths={path})
        assert seen[-1] == Listener(f"unix:{path}", 0, str(os.fstat(server.fileno()).st_ino))
        assert [one.listen for one in seen].count(Address(path=path)) == 1
        (mine,) = processes.with_owners([seen[-1]])
        assert [owner.pid for owner in mine.owners] == [os.getpid()]
        assert seen[-1] not in (*processes.listeners(), *processes.listeners(paths={f"{path}x"}))
    assert all(not one.listen.path for one in processes.listeners(paths={path}))


def test_without_paths_their_table_is_not_read(monkeypatch):
    monkeypatch.setattr(processes, "UNIX_TABLE", "/nowhere")
    processes.listeners()


def _dead(path):
    with listening(path):
        pass


KINDS = {
    "nothing": (lambda path: None, ""),
    "a file": (lambda path: pathlib.Path(path).write_text("x"), "a regular file"),
    "a directory": (os.mkdir, "a directory"),
    "a link": (lambda path: os.symlink("/dev/null", path), "a symbolic link"),
    "a pipe": (os.mkfifo, "a special file"),
    "a dead socket": (_dead, SOCKET),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_at_a_path(path, kind):
    make, said = KINDS[kind]
    make(path)
    assert processes.at_path(path, ()) == said


def test_a_file_where_a_directory_should_be(path):
    pathlib.Path(path).write_text("x")
    assert processes.at_path(f"{path}/below", ()) == "below a file that is no directory"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_socket_that_no_table_shows_is_somebodys_as_long_as_it_is_held(path, kind):
    with listening(path, kind):
        assert processes.at_path(path, ()) == "a socket that another program holds"
    assert processes.at_path(path, ()) == SOCKET


def test_a_socket_that_is_known_is_not_connected_to(path):
    with listening(path) as server:
        assert processes.at_path(path, processes.listeners(paths={path})) == SOCKET
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


# Asked, and drained.


def test_a_door_that_opens_and_one_that_does_not(path):
    place = health.where(Address(path=path))
    assert (str(place), place.at) == (f"unix:{path}:", f"unix:{path}")
    with pytest.raises(FileNotFoundError):
        health.knock(place, 1)
    with listening(path) as server:
        health.knock(place, 1)
        assert server.accept()


def test_those_that_wait_are_accepted_before_a_socket_closes(path):
    with listening(path) as server, contextlib.ExitStack() as clients:
        (listener,) = (one for one in processes.listeners(paths={path}) if one.listen.path)
        waiting = [clients.enter_context(connected(path)) for _ in range(5)]
        os.unlink(path)
        accepted = []
        owner = threading.Thread(target=lambda: accepted.extend(server.accept()[0] for _ in waiting))
        owner.start()
        assert drain.drain(listener, os.getpid()) == 0
        owner.join()
        assert len(accepted) == 5
        for one in accepted:
            one.close()


def test_an_owner_that_does_not_accept_is_not_waited_for(path):
    with listening(path), connected(path):
        (listener,) = (one for one in processes.listeners(paths={path}) if one.listen.path)
        assert drain.drain(listener, os.getpid(), timeout=0.3) == 1


# A server.


@pytest.fixture
def bind(path, monkeypatch):
    """The setting, for a path that is allowed here."""
    monkeypatch.setattr(checks, "RUN", os.path.dirname(path))
    return f"unix:{path}"


@pytest.fixture
def there(machine, bind):
    """A machine that serves 1.0 on a unix socket, as its pillar says."""
    machine.pillar["globoapp"].update(bind=bind)
    assert machine.deploy("1.0", without=["tried"]).failure is None
    return machine


def asked(path):
    """The body that the socket answers with; None without an answer."""
    try:
        return health.ask(health.Unix(path), "/", 5).body
    except OSError:
        return None


def test_it_moves_from_tcp_and_back(machine, path, bind):
    assert machine.deploy("1.0", without=["tried"]).failure is None
    tcp = machine.port
    machine.pillar["globoapp"].update(bind=bind)
    done = machine.deploy()
    assert done.failure is None
    assert done.said["serving"] == f"serving serves {bind}."
    assert (asked(path), machine.answers(tcp)) == ('{"version": "1.0"}', None)
    line = done.line
    assert (line["bind"], line["address"], "port" in line) == (bind, bind, False)
    assert systemd.socket_files(machine.layout) == [machine.layout.socket(Address(path=path))]
    assert machine.deploy().line is None, "a second run changes nothing"
    machine.pillar["globoapp"].update(bind="127.0.0.1")
    assert machine.deploy("1.1").failure is None
    assert (machine.answers(tcp), os.path.lexists(path)) == ('{"version": "1.1"}', False)
    assert systemd.socket_files(machine.layout) == [machine.layout.socket(Address("127.0.0.1", tcp))]


def test_a_switch_and_a_way_back(there, path):
    done = there.deploy("1.1")
    assert (done.failure, asked(path)) == (None, '{"version": "1.1"}')
    assert (done.line["probe"]["failed"], done.line["probe"]["sent"] > 0) == (0, True)
    answer = rollback.rollback(there.minion(function="globoapp.rollback"))
    assert (answer["result"], asked(path)) == (True, '{"version": "1.0"}'), answer


def test_a_release_that_fails_on_it_leaves_the_old_address(machine, path, bind):
    machine.deploy("1.0", without=["tried"])
    machine.publish("1.1", api="import os\nos._exit(1)\n")
    machine.pillar["globoapp"].update(bind=bind)
    assert machine.deploy("1.1", without=["tried"]).failure
    assert machine.answers() == '{"version": "1.0"}'
    assert (os.path.lexists(path), machine.deployed()) == (False, "1.0")


def test_what_is_told_of_it(there, path, bind):
    assert answers.status(there.minion())["address"] == bind
    assert answers.status(there.minion())["differences"] == ["current points to None instead of PACK1_0"]
    seen = answers.health(there.minion(), deadline=0)
    assert (seen["healthy"], seen["asked"]) == (True, f"{bind}:/status/")
    shown = answers.settings(there.minion(), [])
    assert (shown["bind"], shown["address"], shown["port"]) == (bind, bind, None)


def test_a_path_that_was_removed_is_told_and_put_back(there, path):
    os.unlink(path)
    (said,) = (one for one in answers.status(there.minion())["differences"] if "active" in one)
    assert said.endswith(f".socket is active, yet {path} is not there")
    assert there.deploy().failure is None
    assert asked(path) == '{"version": "1.0"}'


def test_healing_puts_it_back(there, path):
    there.systemd.run(["systemctl", "stop", there.layout.socket(Address(path=path))])
    assert asked(path) is None
    answer = heal.heal(there.minion(function="globoapp_minion.heal"))
    assert (answer["result"], asked(path)) == ("healed", '{"version": "1.0"}'), answer
    assert all("port" not in entry.data for entry in ledger.read(there.layout.ledger))


@pytest.mark.parametrize("way", ["deploy", "heal"])
def test_a_file_that_has_taken_its_place_is_named_and_stays(there, path, way):
    os.unlink(path)
    pathlib.Path(path).write_text("mine")
    if way == "deploy":
        said = there.deploy("1.1").failure
    else:
        said = heal.heal(there.minion(function="globoapp_minion.heal"))["comment"]
    assert f"{path} is a regular file" in said
    assert pathlib.Path(path).read_text() == "mine"


def test_a_dead_socket_is_replaced(machine, path, bind):
    _dead(path)
    machine.pillar["globoapp"].update(bind=bind)
    assert machine.deploy("1.0").failure is None
    assert asked(path) == '{"version": "1.0"}'


def test_a_live_socket_is_refused_by_name(machine, path, bind):
    machine.pillar["globoapp"].update(bind=bind)
    with listening(path) as server:
        (line,) = machine.begin("1.0").problems  # what this process holds systemd holds, in these tests
        assert line.startswith(f"{bind} is taken: another socket unit of systemd listens on {bind}")
        assert processes.at_path(path, [Listener(bind, 0, "0")]) == SOCKET
        assert server.fileno() > 0


def test_a_socket_that_is_open_gets_the_owner_that_its_unit_names(path):
    me = pwd.getpwuid(os.getuid())
    with listening(path):
        os.chmod(path, 0o666)
        systemd.own_socket(Settings(user=me.pw_name, address=f"unix:{path}", port=0))
        seen = os.stat(path)
    assert (stat.S_IMODE(seen.st_mode), seen.st_uid, seen.st_gid) == (0o660, me.pw_uid, me.pw_gid)
    systemd.own_socket(Settings())
    with pytest.raises(Failure, match=f"{path} cannot be given to nobody-at-all: "):
        systemd.own_socket(Settings(user="nobody-at-all", address=f"unix:{path}", port=0))


def test_a_unit_that_was_edited_is_defined_again_and_the_socket_stays(there, path, monkeypatch):
    unit = pathlib.Path(there.layout.unit_file(there.layout.socket(Address(path=path))))
    written, owned = unit.read_text(), []
    unit.write_text("[Socket]\n")
    monkeypatch.setattr(systemd, "own_socket", owned.append)
    before = os.stat(path).st_ino
    assert there.deploy().failure is None
    assert (unit.read_text(), os.stat(path).st_ino) == (written, before)
    assert [settings.listen.path for settings in owned] == [path]


# Monitoring.


def test_the_probe_asks_it_and_says_where(tmp_path, path):
    server = Watched(tmp_path)
    server.release()
    server.ledger("a")
    text = pathlib.Path(server.layout.ledger).read_text()
    pathlib.Path(server.layout.ledger).write_text(text.replace('"127.0.0.1", "port": 1', f'"unix:{path}"'))
    settings = {"timeout": 1, "latency_ms": 800}
    sample = probes.api(settings, server.memory)
    assert sample["message"].startswith(f"no worker of PACK1_0 runs, and unix:{path} takes no connection: ")
    with listening(path):
        assert probes.api(settings, server.memory)["message"] == "no worker of PACK1_0 runs"
        server.worker(os.getpid())
        assert probes.api(settings, server.memory)["message"].startswith(f"GET unix:{path}:/: no answer: TimeoutError")


def test_what_the_master_knows_of_it(there, bind):
    sent = {"version": "1.0", "port": None, "address": bind, "health": {"healthy": True}}
    kept = incoming.report(sent, "2026-01-01T00:00:00.000Z")
    assert (kept["port"], kept["address"]) == (None, bind)
    row = inventory._app("globoapp", kept, kept["time"], [], [], None)
    assert (row["port"], row["address"]) == (None, bind)
    older = {"time": "2025-12-31T00:00:00.000Z", "version": "1.0", "result": "success", "address": "0.0.0.0", "port": 1}
    assert inventory._app("globoapp", kept, kept["time"], [older], [], None)["address"] == bind
    # A deploy is known at once: what the report said before it is no more so.
    moved = inventory._app("globoapp", kept, kept["time"], [{**older, "time": "2026-01-02T00:00:00.000Z"}], [], None)
    assert (moved["port"], "address" in moved) == (1, False)
    came = {"time": "2026-01-02T00:00:00.000Z", "version": "1.0", "result": "success", "address": bind}
    there = inventory._app("globoapp", {"port": 8000}, kept["time"], [came], [], None)
    assert (there["port"], there["address"]) == (None, bind)
    shown = {**row, "disk": {}, "cpu": 1, "memory": 1, "heard": None, "silent": False, "watched": True}
    assert 'globoapp_info{app="globoapp",host="web1",port="",version="1.0"} 1.0' in metrics.text({"web1": shown}, 0)
