"""The commands of README and handbook, and the examples of what people call, on real machines.

A console block says `salt` and `salt-run` as on a master; here they are those of the fleet's master. Every command has
to end with 0, and what is shown under it has to be among what it prints.
"""

import json
import shlex
import subprocess

import pytest
from deploys import apply
from documents import CHECKOUT, PAGES, commands, examples, missing, public_functions

MASTER = 'salt() { lab/fleet salt "$@"; }; salt-run() { lab/fleet salt-run "$@"; }; '
PATHS = {name: CHECKOUT / "salt" / name / "globoapp.py" for name in ("_modules", "_runners")}
INNER = sorted(path for path in (CHECKOUT / "salt/_modules").glob("globoapp_*.py"))
EXAMPLES = [
    pytest.param(line, id=f"{kind.strip('_')}.{name}-{number}")
    for kind, path in PATHS.items()
    for name, text in public_functions(path).items()
    for number, line in enumerate(examples(text))
]


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


@pytest.fixture
def deployed(fleet):
    """1.0, then 1.1 on both web servers: what every page begins with."""
    for version in ("1.0", "1.1"):
        apply(fleet, "web*", version=version, port=8000).green()
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
    for version in ("1.0", "1.1"):
        apply(fleet, "web*", version=version).green()
    fleet.exec("master", "mkdir", "-p", "/var/lib/prometheus/node-exporter", check=True)
    yield fleet
    over = '{"probe": "api", "state": "clear", "message": "the test is over"}'
    fleet.run("salt-run", "globoapp.alert", "web1", over)


@pytest.mark.parametrize("line", EXAMPLES)
def test_example_of_a_function(ready, line):
    code, output = shell(ready, line)
    # salt-run ends with 0 also when the runner raised.
    signs = ("ERROR executing", "Traceback", "is not available", "Exception occurred")
    assert (code, [sign for sign in signs if sign in output]) == (0, []), output[-3000:]


@pytest.fixture(scope="module")
def words(ready):
    """What the examples of inner functions call $SETTINGS and the like, as the shell's text: those of web1 with 1.1."""
    apply(ready, "web*", version="1.1", port=8000).green()
    settings = ready.ask("web1", "globoapp.settings")["web1"]
    artifact = ready.ask("web1", "globoapp_preflight.artifact", json.dumps(settings))["web1"]
    said = {
        "SETTINGS": json.dumps(settings),
        "ARTIFACT": json.dumps(artifact),
        "STANDING": json.dumps(ready.ask("web1", "globoapp_deploy.standing", json.dumps(settings))["web1"]),
        "LOCK": artifact["lock"],
        "VIRTUALENV": ready.ask("web1", "globoapp_release.record", json.dumps(settings), "PACK1_1")["web1"][
            "virtualenv"
        ],
    }
    call = 'salt-call() { lab/fleet exec web1 -- salt-call "$@"; }; '
    return call + "".join(f"{name}={shlex.quote(text)}; " for name, text in said.items())


@pytest.mark.parametrize("module", INNER, ids=lambda path: path.stem)
def test_examples_of_an_inner_module(ready, words, module):
    wrong = []
    for name, text in public_functions(module).items():
        for line in examples(text):
            code, output = shell(ready, words + line)
            if code or "Traceback" in output:
                wrong.append(f"{name}: {line}: exit code {code}\n{output[-1500:]}")
    assert not wrong, "\n".join(wrong)
    assert ready.ask("web1", "globoapp.status")["web1"]["version"] == "1.1"
