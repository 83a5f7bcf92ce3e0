"""The commands of README and handbook, and the examples of what people call, on real machines.

A console block says `salt` and `salt-run` as on a master; here they are those of the fleet's master. Every command has
to end with 0, and what is shown under it has to be among what it prints.
"""

import subprocess

import pytest
from documents import CHECKOUT, PAGES, commands, examples, missing, public_functions
from server import all_green, apply

MASTER = 'salt() { lab/fleet salt "$@"; }; salt-run() { lab/fleet salt-run "$@"; }; '
FILES = [path for name in ("_modules", "_runners") for path in sorted((CHECKOUT / "salt" / name).glob("*.py"))]
EXAMPLES = [
    pytest.param(line, id=f"{path.parent.name.strip('_')}.{path.stem}.{name}-{number}")
    for path in FILES
    for name, text in public_functions(path).items()
    for number, line in enumerate(examples(text))
    if "'lb*'" not in line  # test_balancer.py has the machine
]


# What the examples call the last rollout, and the functions that need one which is under way.
ROLLOUT, DRIVEN = "20261128-161230-5f3a", ("salt-run globoapp.pause ", "salt-run globoapp.stop ")


def shell(fleet, text):
    """Runs a command line as a person types it and returns (exit code, all that it prints)."""
    done = subprocess.run(
        ["bash", "-c", MASTER + text],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=CHECKOUT,
        env=fleet.env,
        timeout=600,
    )
    return done.returncode, done.stdout


def both_versions(fleet):
    """1.0, then 1.1 on both web servers."""
    for version in ("1.0", "1.1"):
        all_green(apply(fleet, "web*", version, port=8000))


@pytest.fixture
def deployed(fleet):
    """1.0, then 1.1 on both web servers: what every page begins with."""
    both_versions(fleet)
    return fleet


@pytest.mark.parametrize(
    "page", [page for page in PAGES if commands(page)], ids=lambda page: str(page.relative_to(CHECKOUT))
)
def test_commands_of_a_page(deployed, page):
    wrong = []
    for command in commands(page):
        code, output = shell(deployed, command.text)
        lost = missing(command.shown, output)
        if code:
            wrong.append(f"{page.name}:{command.line}: {command.text}: exit code {code}\n{output[-3000:]}")
        elif lost:
            wrong.append(f"{page.name}:{command.line}: {command.text} does not print {lost!r} but\n{output[-3000:]}")
    assert not wrong, "\n".join(wrong)


@pytest.fixture(scope="module")
def ready(fleet):
    """A fleet with two versions on each web server, and where node_exporter's files go on the master."""
    both_versions(fleet)
    fleet.exec("master", "mkdir", "-p", "/var/lib/prometheus/node-exporter", check=True)
    yield fleet
    over = '{"probe": "api", "state": "clear", "message": "the test is over"}'
    fleet.run("salt-run", "globoapp.alert", "web1", over)


@pytest.mark.parametrize("line", EXAMPLES)
def test_example_of_a_function(ready, line):
    if ROLLOUT in line:
        line = line.replace(ROLLOUT, ready.runner("globoapp.rollouts", "1")[0]["rollout"])
    code, output = shell(ready, line)
    if line.startswith(DRIVEN):
        assert (code, "is not under way: finished" in output or "is not under way: went back" in output) == (1, True), (
            output
        )
        return
    # salt-run ends with 0 also when the runner raised.
    signs = ("ERROR executing", "Traceback", "is not available", "Exception occurred")
    assert (code, [sign for sign in signs if sign in output]) == (0, []), output[-3000:]
