"""What unit files, gunicorn's settings and environment files say."""

import ast
import ctypes
import glob
import itertools
import json
import re
import runpy
import sys

import pytest
from globolib import files, manifest, units, variables
from globolib.errors import Failure
from globolib.layout import CANDIDATE, LIVE, STANDIN
from globolib.settings import Settings
from hypothesis import example, given
from hypothesis import strategies as st

START = "ExecStart=/srv/shops/one/%i/.venv/bin/gunicorn --config /srv/shops/one/.globoapp/gunicorn.conf.py"
CANDIDATE_START = START.replace(".globoapp/", ".globoapp/candidate/")
SHOP = Settings(name="shop", user="web", root="/srv/shops/one", version="1.0")


def directives(text):
    """The lines that systemd acts on, as (section, line)."""
    section, found = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line
        elif line and not line.startswith("#"):
            found.append((section, line))
    return found


def test_a_release_is_started_from_its_directory_with_the_shared_settings():
    lines = [line for _, line in directives(units.release_unit(SHOP))]
    assert {
        "Description=shop %i (gunicorn)",
        "User=web",
        "WorkingDirectory=/srv/shops/one/%i",
        "EnvironmentFile=/srv/shops/one/.globoapp/%i.env",
        "RuntimeDirectory=shop/%i",
        "StateDirectory=shop",
        START + " ${WSGI_TARGET}",
    } <= set(lines)


def test_a_candidate_differs_only_where_it_must():
    release, candidate = directives(units.release_unit(SHOP)), directives(units.release_unit(SHOP, CANDIDATE))
    assert [line for line in candidate if line not in release] == [
        ("[Unit]", "Description=shop %i (gunicorn, candidate on a private socket)"),
        ("[Service]", "DynamicUser=yes"),  # neither the account nor the state of the release that serves
        ("[Service]", "Environment=STATE_DIRECTORY=/tmp"),
        ("[Service]", "EnvironmentFile=/srv/shops/one/.globoapp/candidate/%i.env"),
        ("[Service]", "RuntimeDirectory=shop-candidate/%i"),
        ("[Service]", f"{CANDIDATE_START} --bind unix:/run/shop-candidate/%i/gunicorn.sock ${{WSGI_TARGET}}"),
        ("[Service]", "Restart=no"),
        ("[Service]", "CPUWeight=20"),
        ("[Service]", "Nice=10"),
        ("[Service]", "KillSignal=SIGKILL"),
    ]
    assert [line for line in release if line not in candidate] == [
        ("[Unit]", "Description=shop %i (gunicorn)"),
        ("[Unit]", "StartLimitIntervalSec=0"),
        ("[Service]", "User=web"),
        ("[Service]", "StateDirectory=shop"),
        ("[Service]", "StateDirectoryMode=0700"),
        ("[Service]", "EnvironmentFile=/srv/shops/one/.globoapp/%i.env"),
        ("[Service]", "RuntimeDirectory=shop/%i"),
        ("[Service]", f"{START} ${{WSGI_TARGET}}"),
        ("[Service]", "Restart=always"),
        ("[Service]", "RestartSec=250ms"),
        ("[Service]", "OOMPolicy=continue"),
        ("[Install]", "WantedBy=multi-user.target"),
    ]


def test_a_stand_in_is_what_serves_but_for_its_runtime_directory():
    release, standin = directives(units.release_unit(SHOP)), directives(units.release_unit(SHOP, STANDIN))
    assert [line for line in standin if line not in release] == [
        ("[Unit]", "Description=shop %i (gunicorn, during its restart)"),
        ("[Service]", "RuntimeDirectory=shop-standin/%i"),
        ("[Service]", "Sockets=shop-0.0.0.0:8000.socket"),
        ("[Service]", "Restart=no"),
    ]
    assert [line for line in release if line not in standin] == [
        ("[Unit]", "Description=shop %i (gunicorn)"),
        ("[Service]", "RuntimeDirectory=shop/%i"),
        ("[Service]", "Restart=always"),
        ("[Service]", "RestartSec=250ms"),
        ("[Install]", "WantedBy=multi-user.target"),
    ]


@pytest.mark.parametrize(
    ("role", "line"), [(LIVE, "Group=web-apps"), (CANDIDATE, "SupplementaryGroups=web-apps")], ids=str
)
def test_a_group_of_its_own(role, line):
    with_group = directives(units.release_unit(SHOP.at(group="web-apps"), role))
    assert [one for one in with_group if one not in directives(units.release_unit(SHOP, role))] == [("[Service]", line)]


def test_systemd_waits_for_the_requests_at_the_end():
    assert "TimeoutStopSec=40\n" in units.release_unit(SHOP)
    assert "TimeoutStopSec=130\n" in units.release_unit(SHOP.at(graceful_timeout=120))


@pytest.mark.parametrize("role", [LIVE, CANDIDATE, STANDIN], ids=["live", "candidate", "stand-in"])
def test_with_connect_every_role_reaches_these_addresses_and_no_other(role):
    without = directives(units.release_unit(SHOP, role))
    reaching = directives(units.release_unit(SHOP.at(connect=["10.0.0.6:5432", "fd00::/64", "10.0.0.6:6432"]), role))
    assert [line for section, line in without if (section, line) not in reaching] == [
        "PrivateNetwork=yes",
        "RestrictAddressFamilies=AF_UNIX",
    ]
    assert [line for section, line in reaching if (section, line) not in without] == [
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "SocketBindDeny=any",
        "IPAddressAllow=10.0.0.6/32 fd00::/64",
    ]
    assert ("[Service]", "IPAddressDeny=any") in reaching


@pytest.mark.parametrize(("umask", "mode"), [("0077", "0700"), ("0027", "0750"), ("007", "0770")])
def test_what_the_app_writes_is_for_whom_the_umask_says(umask, mode):
    lines = [line for _, line in directives(units.release_unit(SHOP.at(umask=umask)))]
    assert {f"UMask={umask}", f"StateDirectoryMode={mode}"} <= set(lines)


def test_what_pillar_says_of_gunicorn():
    settings = SHOP.at(
        workers="auto", worker_count=3, threads=8, worker_timeout=60, graceful_timeout=90, max_requests=1000,
        max_requests_jitter=50, access_log=True,
    )  # fmt: skip
    live, candidate = units.unit_files(settings), units.candidate_files(settings, "api:app")
    told = json.loads(live["/srv/shops/one/.globoapp/gunicorn.json"])
    assert told == {
        "workers": 3, "threads": 8, "timeout": 60, "graceful_timeout": 90, "max_requests": 1000,
        "max_requests_jitter": 50, "access_log": True,
    }  # fmt: skip
    for_candidate = json.loads(candidate["/srv/shops/one/.globoapp/candidate/gunicorn.json"])
    assert for_candidate == {**told, "max_requests": 0, "max_requests_jitter": 0}


@pytest.mark.parametrize("role", [LIVE, CANDIDATE, STANDIN])
def test_limits_are_those_of_both_units(role):
    limited = units.release_unit(SHOP.at(memory_max="512M", cpu_quota="150%", tasks_max=100), role)
    assert [line for line in directives(limited) if line not in directives(units.release_unit(SHOP, role))] == [
        ("[Service]", "MemoryMax=512M"),
        ("[Service]", "CPUQuota=150%"),
        ("[Service]", "TasksMax=100"),
    ]


@pytest.mark.parametrize("role", [LIVE, CANDIDATE, STANDIN])
def test_the_app_may_do_little(role):
    lines = [line for section, line in directives(units.release_unit(SHOP, role)) if section == "[Service]"]
    assert {"PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "CapabilityBoundingSet=", "UMask=0077"} <= set(
        lines
    )
    filters = [line for line in lines if line.startswith("SystemCallFilter=")]
    assert filters == [
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallFilter=@chown setuid",  # the last word: gunicorn's workers need them
    ]


def test_what_a_socket_starts_is_what_starts_at_boot():
    text = units.activate_unit(SHOP)
    assert "cd /etc/systemd/system/multi-user.target.wants && exec systemctl start --no-block shop@*.service" in text
    assert ("[Unit]", "Description=shop: start the deployed release") in directives(text)


@pytest.mark.parametrize(("address", "listen"), [("10.0.0.5", "10.0.0.5:8000"), ("::1", "[::1]:8000")])
def test_a_socket_listens_where_it_should(address, listen):
    lines = directives(units.socket_unit(SHOP.at(address=address)))
    assert ("[Socket]", f"ListenStream={listen}") in lines
    assert ("[Socket]", "Service=shop-activate.service") in lines
    assert ("[Unit]", f"Description=shop on {listen}") in lines


def test_sockets_are_handed_over_in_order():
    assert directives(units.handed_text(["b.socket", "a.socket"])) == [
        ("[Service]", "Sockets=b.socket"),
        ("[Service]", "Sockets=a.socket"),
    ]


def unquoted(text):
    """The variables of an EnvironmentFile, in double quotes, as systemd reads it (src/basic/env-file.c)."""
    lines = re.findall(r'([A-Za-z_]\w*)="((?:[^"\\]|\\.)*)"\n', text, re.DOTALL)
    assert "".join(f'{name}="{value}"\n' for name, value in lines) == text
    for _, value in lines:
        assert not re.search(r"(?<!\\)(?:\\\\)*(?:[$`]|\\\n)", value)
    return {name: re.sub(r'\\(["\\`$])', r"\1", value) for name, value in lines}


def read_by_systemd(path):
    """The variables of an EnvironmentFile as the systemd of this machine reads it: its own parser, called."""
    (library,) = glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so")
    found = ctypes.POINTER(ctypes.c_char_p)()
    assert ctypes.CDLL(library).load_env_file(None, str(path).encode(), ctypes.byref(found)) >= 0
    return dict(line.decode().split("=", 1) for line in itertools.takewhile(bool, found))


PEM = "-----BEGIN KEY-----\nTUM0$Q`x`\\\n\n;a\n#b\n-----END KEY-----\n"
HARD = "$HOME `id` \"x\" 'y' \\n \\$ \\"


@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
        lambda value: not variables.problems({"A": value})
    )
)
@example(HARD)
@example(PEM)
def test_a_value_reaches_the_app_as_it_was_written(value):
    text = units.environment_text(SHOP.at(environment={"A": value}), "api:app")
    assert unquoted(text) == {"A": value, "WSGI_TARGET": "api:app"}


@pytest.mark.skipif(not glob.glob("/usr/lib/*/systemd/libsystemd-shared-*.so"), reason="no systemd on this machine")
def test_systemd_itself_reads_what_was_written(tmp_path):
    wanted = {"HARD": HARD, "PEM": PEM, "TAB": "\ta \x1b[0m ", "LAST": "\n"}
    path = tmp_path / "x.env"
    files.write(str(path), units.environment_text(SHOP.at(environment={**wanted, "HALF": 0.5, "ONE": 1}), "api:app"))
    assert read_by_systemd(path) == {**wanted, "HALF": "0.5", "ONE": "1", "WSGI_TARGET": "api:app"}
    assert files.read(str(path)) == path.read_bytes().decode()  # no end of a line is another one when it is compared


def test_variables_are_sorted_and_the_target_is_the_manifests():
    settings = SHOP.at(environment={"Z": 1, "WSGI_TARGET": "evil:app", "A": "x"})
    assert units.environment_text(settings, "api:app") == 'A="x"\nWSGI_TARGET="api:app"\nZ="1"\n'


def test_every_file_that_does_not_depend_on_the_address():
    files = units.unit_files(SHOP)
    assert files == {
        "/etc/systemd/system/shop@.service": units.release_unit(SHOP),
        "/etc/systemd/system/shop-activate.service": units.activate_unit(SHOP),
        "/srv/shops/one/.globoapp/gunicorn.conf.py": units.gunicorn_text(),
        "/srv/shops/one/.globoapp/gunicorn.json": units.gunicorn_settings(SHOP),
    }
    assert units.unit_files(SHOP.at(address="::1", port=1)) == files


def test_a_package_that_was_not_synchronised_whole_says_what_to_do(monkeypatch):
    monkeypatch.setattr(units, "__file__", "/nowhere/globolib/units.py")
    with pytest.raises(Failure, match=r"/nowhere/globolib/gunicorn_conf\.py is missing: .*saltutil\.sync_utils"):
        units.gunicorn_text()


@pytest.fixture
def gunicorn(tmp_path, monkeypatch):
    """gunicorn's settings, read as gunicorn does: from the directory of a release with this manifest."""

    def load(told=None, **manifest):
        (tmp_path / "conf").mkdir()
        (tmp_path / "conf/gunicorn.conf.py").write_text(units.gunicorn_text())
        if told is not None:
            (tmp_path / "conf/gunicorn.json").write_text(told)
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
        (tmp_path / "run").mkdir()
        return runpy.run_path(str(tmp_path / "conf/gunicorn.conf.py"))

    return load


def test_gunicorn_takes_workers_and_threads_from_the_manifest(gunicorn, tmp_path):
    settings = gunicorn(workers=2, threads=8)
    assert (settings["workers"], settings["threads"], settings["keepalive"]) == (2, 8, 0)
    assert settings["worker_tmp_dir"] == str(tmp_path / "run")


ALL = {"workers": 3, "threads": 2, "worker_timeout": 60, "graceful_timeout": 90, "max_requests": 9, "access_log": True}


def test_gunicorn_takes_what_pillar_says_before_the_manifest(gunicorn):
    told = units.gunicorn_settings(SHOP.at(**ALL, worker_count=3, max_requests_jitter=4))
    settings = gunicorn(told, workers=2, threads=8)
    assert {key: settings[key] for key in ("workers", "threads", "timeout", "graceful_timeout", "accesslog")} == {
        "workers": 3, "threads": 2, "timeout": 60, "graceful_timeout": 90, "accesslog": "-"
    }  # fmt: skip
    assert (settings["max_requests"], settings["max_requests_jitter"]) == (9, 4)


def test_gunicorn_takes_its_own_defaults_where_nobody_says_anything(gunicorn):
    settings = gunicorn(units.gunicorn_settings(SHOP))
    kept = ("workers", "threads", "timeout", "graceful_timeout", "max_requests", "max_requests_jitter", "accesslog")
    assert [settings[key] for key in kept] == [1, 4, 30, 30, 0, 0, None]


@pytest.mark.parametrize("single", [None, True, False])
@pytest.mark.parametrize("workers", [None, 1, 2])
@pytest.mark.parametrize("told", [None, '{"workers": null}', '{"workers": 3}'])
def test_gunicorn_starts_as_many_workers_as_are_waited_for(gunicorn, told, workers, single):
    numbers = {"workers": workers, "single_process": single}
    data = {key: value for key, value in numbers.items() if value is not None}
    release = manifest.parsed({"name": "x", "version": "1.0", "wsgi": "api:app", "health": {"path": "/"}, **data})
    assert gunicorn(told, **data)["workers"] == manifest.worker_count(release, told)


def test_a_worker_says_when_it_has_loaded_the_app_and_its_end_takes_that_back(gunicorn, tmp_path):
    class Worker:
        pid, nr, max_requests = 7, 0, 5

    settings = gunicorn()
    assert (settings["workers"], settings["threads"]) == (1, 4)
    settings["child_exit"](None, Worker)
    settings["post_worker_init"](Worker)
    assert (tmp_path / "run/ready-7").exists()
    settings["child_exit"](None, Worker)
    assert not (tmp_path / "run/ready-7").exists()


def test_a_worker_that_has_answered_its_requests_says_so_and_old_marks_go(gunicorn, tmp_path):
    class Worker:
        pid, nr, max_requests = 7, 5, 5

    settings = gunicorn()
    settings["worker_exit"](None, Worker)
    assert (tmp_path / "run/recycled-7").exists()
    for Worker.pid in range(7, 107):
        settings["child_exit"](None, Worker)
    assert (tmp_path / "run/recycled-7").exists()
    settings["child_exit"](None, Worker)
    assert not (tmp_path / "run/recycled-7").exists()
    Worker.nr, Worker.pid = 4, 8
    settings["worker_exit"](None, Worker)  # it ends for another reason
    assert not (tmp_path / "run/recycled-8").exists()


def test_gunicorns_settings_need_nothing_but_python():
    """It runs in the app's virtualenv, under the Python of the release."""
    tree = ast.parse(units.gunicorn_text(), feature_version=(3, 7))
    imported = {
        name.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in node.names
    }
    assert imported <= sys.stdlib_module_names
