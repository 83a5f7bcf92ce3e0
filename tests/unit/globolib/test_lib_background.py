# ruff: noqa: E501  a table reads best with one line a case
"""Background processes: what manifest and pillar may say of them, their units, and what of them is to be done."""

import pytest
from globolib import background, checks, manifest, plan, preflight, settings, units
from globolib.layout import Layout
from globolib.plan import Target
from hosts import HOST, LAYOUT, SETTINGS, TARGET, VIRTUALENV, but, record, unit

SHORT = {"name": "globoapp", "version": "1.0", "wsgi": "api:app", "health": {"path": "/"}}
WORKER, OTHER = "globoapp-worker@PACK1_0.service", "globoapp-worker@PACK0_9.service"

FINE = {
    "a text": ("celery -A tasks worker", ("celery", "-A", "tasks", "worker")),
    "a text with quotes": ("sh -c 'echo $HOME'", ("sh", "-c", "echo $HOME")),
    "a list": (["python", "-m", "a b"], ("python", "-m", "a b")),
}


@pytest.mark.parametrize("case", FINE)
def test_a_command_is_a_text_or_a_list(case):
    command, words = FINE[case]
    data = {**SHORT, "processes": {"worker": command}}
    assert manifest.problems(data, "globoapp", "1.0") == []
    assert manifest.parsed(data).processes == {"worker": words}
    assert background.problems({"worker": command}, pillar=True) == []


WRONG = {
    "no mapping": (["celery"], "processes is ['celery']: it must be a mapping of names to commands, worker: celery -A tasks worker"),
    "upper case": ({"Worker": "x"}, "processes has 'Worker': the name of a process is lower-case letters, digits, - and _"),
    "a number": ({1: "x"}, "processes has 1: the name of a process is lower-case letters, digits, - and _"),
    "too long": ({"w" * 32: "x"}, f"processes has '{'w' * 32}': the name of a process is lower-case letters, digits, - and _"),
    "an instance": ({"a@b": "x"}, "processes has 'a@b': the name of a process is lower-case letters, digits, - and _"),
    **{name: ({name: "x"}, f"processes has '{name}': a unit of the app has this name; choose another one") for name in ("candidate", "command", "standin", "activate", "looked")},
    "nothing": ({"worker": ""}, "processes:worker is '': a command, or a list of 1 to 64 words"),
    "a quotation without end": ({"worker": "sh -c 'x"}, "processes:worker is \"sh -c 'x\": a command, or a list of 1 to 64 words"),
    "true": ({"worker": True}, "processes:worker is True: a command, or a list of 1 to 64 words"),
    "a NUL": ({"worker": ["a\0"]}, "processes:worker is ['a\\x00']: a command, or a list of 1 to 64 words"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(case):
    value, line = WRONG[case]
    assert background.problems(value) == [line]
    assert manifest.problems({**SHORT, "processes": value}, "globoapp", "1.0") == [f"manifest.json says {line}"]
    assert background.problems(value, pillar=True) == [line.replace(": a command,", ": false, a command,")]


def test_a_manifest_switches_nothing_off():
    assert len(background.problems({"worker": None, "beat": False})) == 2
    assert background.problems({"worker": None, "beat": False}, pillar=True) == []


def test_pillar_goes_before_the_manifest():
    said = {"beat": ("b",), "worker": ("w",)}
    assert background.wanted(said, {}) == said
    assert background.wanted(said, {"worker": "v 1", "beat": None, "a": ["x"]}) == {"a": ("x",), "worker": ("v", "1")}
    assert background.wanted(said, {"worker": False}) == {"beat": ("b",)}


def test_the_setting_is_checked_and_shown():
    def resolve(processes):
        return settings.resolve({"globoapp": {"version": "1.0", "processes": processes}}, None, {"lo": ["127.0.0.1"]})

    assert resolve({"worker": "x y"}).settings.shown()["processes"] == {"worker": "x y"}
    wrong = resolve({"worker": 1})
    assert wrong.problems == ("processes:worker is 1: false, a command, or a list of 1 to 64 words",)
    assert wrong.settings.processes == {}
    assert "processes" not in checks.OF_ONE_DEPLOY


@pytest.mark.parametrize(
    ("name", "named"),
    [
        (WORKER, ("worker", "PACK1_0")),
        ("globoapp-mail-out_2@PACK1_2_3.service", ("mail-out_2", "PACK1_2_3")),
        ("globoapp@PACK1_0.service", None),
        ("globoapp-candidate@PACK1_0.service", None),
        ("globoapp-command@PACK1_0.service", None),
        ("globoapp-worker@.service", None),
        ("globoapp-worker@PACK1_0.service.d", None),
        ("globoapp-worker@backup.service", None),
        ("shop-worker@PACK1_0.service", None),
        ("globoapp2-worker@PACK1_0.service", None),
        ("globoapp-0.0.0.0:8000.socket", None),
    ],
)
def test_units_by_their_names(name, named):
    assert background.of_unit(Layout("globoapp", "/srv/x/y"), name) == named


# The unit.


def lines(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def test_its_unit_is_that_of_what_serves_but_for_its_command():
    serves, works = lines(units.release_unit(SETTINGS)), lines(units.process_unit(SETTINGS, "worker", ["celery", "-A"]))
    assert [line for line in works if line not in serves] == [
        "Description=globoapp %i (worker)",
        "PartOf=globoapp@%i.service",
        "Type=exec",
        "Environment=PATH=/opt/x/y/%i/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "RuntimeDirectory=globoapp-worker/%i",
        'ExecStart=/usr/bin/env -- "celery" "-A"',
        "RestartSec=2s",
    ]
    assert [line for line in serves if line not in works] == [
        "Description=globoapp %i (gunicorn)",
        "Type=notify",
        "NotifyAccess=main",
        "RuntimeDirectory=globoapp/%i",
        "ExecStart=/opt/x/y/%i/.venv/bin/gunicorn --config /opt/x/y/.globoapp/gunicorn.conf.py ${WSGI_TARGET}",
        "RestartSec=250ms",
        "[Install]",
        "WantedBy=multi-user.target",
    ]


def test_words_come_as_they_are():
    text = units.process_unit(SETTINGS, "worker", ['a "b" \\', "100% $HOME", "two\nlines\t", ";", "é"])
    assert 'ExecStart=/usr/bin/env -- "a \\"b\\" \\\\" "100%% $$HOME" "two\\x0alines\\x09" ";" "é"\n' in text


def test_what_serves_starts_them_and_without_any_nothing_changes():
    plain = units.release_unit(SETTINGS)
    assert "Wants=" not in plain
    with_two = units.release_unit(SETTINGS, processes=["beat", "worker"])
    assert [line for line in lines(with_two) if line not in lines(plain)] == [
        "Wants=globoapp-beat@%i.service",
        "Wants=globoapp-worker@%i.service",
    ]


# The plan.

WORDS = {"worker": ("celery",)}
WITH = Target(VIRTUALENV, "api:app", WORDS)
PATH = LAYOUT.process_file(WORKER)
TEXT = units.process_unit(SETTINGS, "worker", ["celery"])
TEMPLATE = LAYOUT.unit_file("globoapp@PACK1_0.service")
RUNS = but(
    texts={TEMPLATE: units.release_unit(SETTINGS, processes=WORDS), PATH: TEXT},
    units={WORKER: unit(WORKER, pid=7)},
)
STOPPED = {"globoapp@PACK1_0.service": unit("globoapp@PACK1_0.service", "inactive")}
OLD = LAYOUT.process_file(OTHER)
# name: (host, target, steps, the reason)
CASES = {
    "nothing to do": (RUNS, WITH, "", ""),
    "it ended": (but(RUNS, units={WORKER: unit(WORKER, "failed")}), WITH, "processes", f"{WORKER} does not run"),
    "it is not loaded": (but(RUNS, units={WORKER: None}), WITH, "processes", f"{WORKER} does not run"),
    "it begins again and again": (but(RUNS, units={WORKER: unit(WORKER, "activating")}), WITH, "processes", f"{WORKER} does not run"),
    "it is being stopped": (but(RUNS, units={WORKER: unit(WORKER, "deactivating")}), WITH, "processes", f"{WORKER} does not run"),
    "its file is gone": (but(RUNS, texts={PATH: None}), WITH, "processes", f"{WORKER} is not defined"),
    "its file was edited": (but(RUNS, texts={PATH: TEXT + "Nice=1\n"}), WITH, "processes", f"{WORKER} was changed"),
    "it is masked": (but(RUNS, texts={PATH: ""}), WITH, "processes", f"{WORKER} was changed"),
    "other words": (RUNS, Target(VIRTUALENV, "api:app", {"worker": ("celery", "-B")}), "processes", f"{WORKER} was changed"),
    "switched off": (RUNS, TARGET, "configure restart processes", f"{WORKER} runs"),
    "switched off, its file left": (but(RUNS, units={WORKER: None}), TARGET, "configure restart processes", f"{WORKER} is left"),
    "switched off, running without a file": (but(units={WORKER: unit(WORKER)}), TARGET, "processes", f"{WORKER} runs"),
    "that of another release runs": (but(RUNS, texts={OLD: TEXT}, units={OTHER: unit(OTHER)}), WITH, "processes", f"{OTHER} runs"),
    "that of another release has a file": (but(RUNS, texts={OLD: TEXT}), WITH, "processes", f"{OTHER} is left"),
    "a masked one of another release": (but(RUNS, texts={OLD: ""}), WITH, "processes", f"{OTHER} is left"),
    "somebody else's unit": (but(RUNS, texts={OLD: "[Unit]\n"}, units={OTHER: unit(OTHER)}), WITH, "", ""),
    "the release was stopped": (but(RUNS, units=STOPPED, workers={"PACK1_0": None}), WITH, "start processes", "worker of PACK1_0 starts afresh with it"),
    "the release starts afresh": (but(RUNS, outdated={"PACK1_0": "api.py changed"}), WITH, "restart processes", "worker of PACK1_0 starts afresh with it"),
    "a release without any starts afresh": (but(outdated={"PACK1_0": "api.py changed"}), TARGET, "restart", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_steps(case):
    host, target, steps, why = CASES[case]
    found = plan.plan(SETTINGS, host, target)
    assert (" ".join(found), found.get("processes", "")) == (steps, why)


def test_one_that_does_not_run_speaks_against_the_release():
    released = {"PACK1_0": record()}
    manifest_with = released["PACK1_0"].manifest.__class__("globoapp", "1.0", "api:app", processes=WORDS)
    released["PACK1_0"] = type(released["PACK1_0"])(**{**vars(released["PACK1_0"]), "manifest": manifest_with})
    assert plan.proof(SETTINGS, but(RUNS, releases=released)) == []
    ended = but(RUNS, releases=released, units={WORKER: unit(WORKER, "failed")})
    assert plan.proof(SETTINGS, ended) == [f"{WORKER} does not run"]
    assert plan.proof(SETTINGS.at(processes={"worker": False}), ended) == []


def test_a_unit_that_somebody_else_has_written_is_refused():
    def told(text):
        resolution = settings.Resolution(SETTINGS)
        host = but(RUNS, texts={PATH: text})
        examined = preflight.Examination(target=WITH, free=1 << 40, real_root="/opt/x/y")
        return preflight.problems("web1", resolution, host, examined)

    assert told("[Unit]\nDescription=mine\n") == [
        f"{PATH} was not written by this tree, and is the unit of a background process that 1.0 wants: remove the file, "
        "or give the process another name"
    ]
    assert told(TEXT) == told(None) == told("") == []


def test_a_host_without_processes_is_as_before():
    assert plan.plan(SETTINGS, HOST, TARGET) == {}
