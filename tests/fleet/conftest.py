"""The fleet that these tests share: a master and two web servers, made for them and taken down after them.

With pytest-xdist (-n 3 --dist loadfile --no-loadscope-reorder) each worker has one of its own. Three fleets keep two
processors busy, one leaves them half idle, and more than one beside `make test-bare` would crowd them: with
GLOBOAPP_BESIDE, the process id of what runs beside the tests, only the first worker begins at once, and the others when
that has ended.
GLOBOAPP_FLEET_KEEP=1 leaves it up (and takes one that is up), for the next run: GLOBOAPP_LAB=test lab/fleet status.
"""

import os
import signal
import subprocess
import types

import psutil
import pytest
from fleetlib import fleet as fleets
from fleetlib import naming
from machines import CHECKOUT, Fleet
from polling import until
from server import WIPE, Server, all_green, apply, runs, words

# Fresh minions come first, then what takes longest; what makes the most of a mess comes last: the machines with the
# load balancer and the database stay in the fleet, the latter switched off.
FIRST = ("test_deploy", "test_cuts", "test_drift", "test_handbook")
LAST = ("test_machines", "test_monitoring", "test_balancer", "test_database")
KEEP = os.environ.get("GLOBOAPP_FLEET_KEEP") == "1"
# What a minion knows of the tree.
FORGOTTEN = "/etc/salt/grains /var/cache/salt/minion"


def pytest_collection_modifyitems(items):
    """Puts what needs no machines first, then the files of FIRST, and those of LAST behind all others."""

    def place(item):
        name = item.path.stem
        if "fleet" not in item.path.parts:
            return -1
        if name in FIRST:
            return FIRST.index(name)
        return len(FIRST) + (LAST.index(name) + 1 if name in LAST else 0)

    items.sort(key=place)


def pytest_configure(config):
    """A session with workers ends in order when it is killed, so that its end can clear up behind them."""
    if getattr(config.option, "numprocesses", None):
        signal.signal(signal.SIGTERM, ended)


def pytest_unconfigure(config):
    """Takes down the fleets of workers that had no time to: pytest-xdist gives them ten seconds."""
    if getattr(config.option, "numprocesses", None) and not KEEP:
        for lab in fleets.abandoned(naming.Lab(CHECKOUT, "test")):
            if lab.checkout == CHECKOUT and lab.name.startswith("test-"):
                print(Fleet(lab.name).run("down", check=False).stderr)


def ended(*_):
    """Ends the session: for SIGTERM, of which pytest knows nothing."""
    pytest.exit("ended by SIGTERM", 143)


@pytest.fixture
def say(request):
    """A function that has a line printed at the end of the session: workers of pytest-xdist have no terminal."""
    return lambda text: request.node.user_properties.append(("said", text))


def pytest_terminal_summary(terminalreporter):
    """Prints what tests said."""
    reports = [one for kind in ("passed", "failed") for one in terminalreporter.stats.get(kind, [])]
    for report in reports:
        for name, text in report.user_properties if report.when == "call" else ():
            if name == "said":
                terminalreporter.write_line(f"{report.nodeid.rpartition('/')[2]}: {text}")


@pytest.fixture(scope="session")
def fleet():
    """A Fleet with a master, web1 and web2, all answering."""
    can = subprocess.run(["lab/fleet", "can"], capture_output=True, text=True, cwd=CHECKOUT)
    if can.returncode:
        pytest.skip(can.stderr.strip())
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    these = Fleet(f"test-{worker}" if worker else "test")
    beside = os.environ.get("GLOBOAPP_BESIDE")
    if beside and worker not in (None, "gw0"):
        until(lambda: not psutil.pid_exists(int(beside)), 7200)
    before = signal.signal(signal.SIGTERM, ended)
    # A shell without job control has what it starts in the background ignore it, and so would all that tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        if not KEEP:
            these.run("down")
        these.run("up", "--web", "2", capture_output=False)
        these.heal(False)
        yield these
    finally:
        if not KEEP:
            # Not by failing: a session that fails at its very end makes the log server of salt-factories hang.
            print(these.run("down", check=False).stderr)
        signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def first_deploy(fleet):
    """The very first commands to fresh minions: a dry run on web2, with what is on it before and after, and the deploy.

    Has `cached` (what custom modules each minion had), `before`, `after`, `dry`, `deploy`. Afterwards both serve 1.0.
    """
    servers = [Server(fleet, name) for name in ("web1", "web2")]
    for server in servers:
        if server.sh("ls -d /var/cache/salt/minion/extmods", check=False):  # brought at the boot
            server.restart_minion(f"{WIPE}\nrm -rf {FORGOTTEN}")
    seen, (_, web2) = types.SimpleNamespace(), servers
    find = "find /var/cache/salt/minion/extmods -name '*globo*' 2>/dev/null || true"
    seen.cached = {server.name: server.sh(find) for server in servers}
    seen.before = web2.listing()
    seen.dry = web2.apply("1.0", test=True)
    seen.after = web2.listing()
    seen.deploy = runs(fleet.run(*words("web*", "1.0"), check=False))
    return seen


@pytest.fixture(scope="module")
def serving_1_0(fleet, first_deploy):
    """Both web servers serve 1.0 on port 8000, whatever an earlier test left."""
    until(lambda: fleet.awake("web1", "web2"), 120)  # what an earlier test has restarted comes back by itself
    all_green(apply(fleet, "web*", "1.0", port=8000))


@pytest.fixture(scope="module")
def alone(fleet):
    """A function that deploys versions, one after the other, to a server that has seen none before, and returns the
    Server; it is wiped after the tests.
    """
    made = []

    def give(name, *versions):
        made.append(Server(fleet, name))
        made[-1].wipe()
        for version in versions:
            made[-1].deploy(version)
        return made[-1]

    yield give
    for server in made:
        server.wipe()


@pytest.fixture
def web1(fleet, serving_1_0):
    """web1, serving 1.0."""
    server = Server(fleet, "web1")
    server.deploy("1.0", port=8000)
    return server


@pytest.fixture
def watched(fleet, web1):
    """web1 with monitoring, which heals."""
    fleet.heal(True)
    yield web1
    fleet.heal(False)
