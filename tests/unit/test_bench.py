"""What the benchmarks make of what they have seen: statistics, tables, plots; the files of their rivals are sound."""

import ast
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as xml

import jinja2
import pytest
import yaml

CHECKOUT = pathlib.Path(__file__).parents[2]
RIVALS = CHECKOUT / "bench/rivals"
# Behind all others: bench/load.py has the name of a helper of the tests.
sys.path.append(str(CHECKOUT / "bench"))

import figures  # noqa: E402
import pictures  # noqa: E402
import plan  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402

JOB = {"name": "job", "begin": 2, "pid": 2, "seconds": 0}


def seen(wall, **more):
    """Two measurements of a row."""
    return [
        {"wall": wall - 0.1, "server": 1, "control": 2, **more},
        {"wall": wall + 0.1, "server": 1, "control": 2, **more},
    ]


def comparison(**tools):
    """The data of a comparison: {tool: wall seconds} of one row, `version change`."""
    data = {
        "versions": {"Ansible": "2.19"},
        "salt": "3008.4",
        "when": "2026-11-28",
        "processors": 2,
        "load": [0.5, 1.5],
    }
    data["empty"] = [{"wall": 1.0}, {"wall": 1.2}]
    data["empty_apply"] = [{"wall": 2.0}]
    data["seen"] = {
        name.replace("_", " "): {"version change": seen(wall, lost=0 if name == "globoapp" else 7, silence=0.5)}
        for name, wall in tools.items()
    }
    return data


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([2.0], "2.00"), ([3.0, 1.0, 2.0], "2.00 (1.00-3.00)"), ([1.0, 2.0], "1.50 (1.00-2.00)")],
)
def test_a_median_stands_with_its_range(values, text):
    assert figures.spread(values) == text


def test_what_has_no_figure_of_a_kind_is_left_out_of_it():
    assert figures.column([{"wall": 1, "lost": 0}, {"wall": 2}], "lost") == [0]


def test_a_table():
    assert figures.table(["", "a"], [["x", 1]]) == "|  | a |\n| --- | --- |\n| x | 1 |\n"


def test_the_longest_time_without_an_answer():
    samples = [[0.0, 0.1], [0.2, 0.1], [1.0, 0.5], [1.6, 0.1], [9.0, 0.1]]
    assert plan.silence(samples, 0.25, 1.6) == pytest.approx(1.2)
    assert plan.silence(samples, 1.55, 2.0) == pytest.approx(7.4), "the first answer after the command counts"
    assert plan.silence([], 1.0, 3.5) == 2.5


def test_the_rows_before_a_wanted_one_are_done_too():
    def names(*wanted):
        return [row for row, *_ in plan.life(set(wanted))]

    assert names() == []
    assert names("first deploy") == ["first deploy"]
    assert names("rollback") == ["first deploy", "version change", "rollback"]
    assert names("new lock", "nothing to do") == ["first deploy", "nothing to do", "new lock"]
    assert names(*(row for row, *_ in plan.ROWS)) == [row for row, *_ in plan.ROWS]


def test_each_round_has_another_tool_first():
    assert plan.turns(["a", "b", "c"], 0) == ["a", "b", "c"]
    assert plan.turns(["a", "b", "c"], 1) == ["b", "c", "a"]
    assert plan.turns([report.LOOKS, "a"], 0) == plan.turns([report.LOOKS, "a"], 1) == ["a"]
    assert sorted(plan.turns([report.LOOKS, "a"], 3)) == ["a", report.LOOKS]


def test_the_seconds_of_states_by_function():
    states = {
        "file_|-a_|-/a_|-managed": {"duration": 500.0},
        "file_|-b_|-/b_|-managed": {"duration": 250},
        "globoapp_|-c_|-x_|-tried": {"duration": 1000.0},
    }
    assert plan.durations(json.dumps({"web1": states})) == {"file.managed": 0.75, "globoapp.tried": 1.0}
    for said in ("", "no JSON", '{"web1": "words"}', '{"web1": {"result": true}}', "[]", "{}"):
        assert plan.durations(said) == {}


def test_a_target_that_was_not_reached_stays_in_the_table():
    text = report.document(
        {"compare": comparison(shell=0.5, globoapp=4.0, Ansible=10.0, pyinfra=4.5, Salt_formula=3.0)}
    )
    single = "| version change, to a `state.single test.nop` + shell | at most 1.6x | 2.50x | **not reached** |"
    assert single in text
    assert "| version change, to an empty `state.apply` + shell | at most 1.6x | 1.60x | reached |" in text
    assert "an empty `state.apply` 2.00 s; a `state.single test.nop` 1.10 (1.00-1.20) s.\n" in text
    assert "| version change, Ansible to globoapp | at least 4x | 2.5x | **not reached** |" in text
    assert "| version change, globoapp less pyinfra | at most 0.00 s | -0.50 s | reached |" in text
    assert "| version change, globoapp less Salt formula | at most 0.00 s | +1.00 s | **not reached** |" in text
    assert "| requests lost by globoapp, all rounds | 0 | 0 | reached |" in text
    assert "| Ansible | 10.00 (9.90-10.10) |" in text
    assert "| Ansible | 7; 0.50 |" in text


def test_a_run_that_was_cut_gives_a_table_too():
    data = comparison(shell=0.5, globoapp=2.0)
    data["seen"]["Ansible"] = {"version change": []}
    data["empty"] = data["empty_apply"] = []
    text = report.document({"compare": data})
    assert "| Ansible | - |" in text
    assert "to an empty" not in text and "test.nop" not in text
    assert "Ansible" not in pictures.all_of({"compare": data})["bench-compare.svg"]


def test_what_globoapp_only_looks_at_is_allowed_for():
    states = {"globoapp.tried": 0.6, "globoapp.healthy": 0.1, "globoapp.serving": 1.0}
    assert report.looking(seen(2.0, states=states)) == pytest.approx(0.7)
    assert report.looking(seen(2.0)) == 0


def test_a_plot_is_an_svg_with_a_bar_for_each_value():
    data = comparison(shell=0.5, globoapp=2.0, Ansible=10.0)
    root = xml.fromstring(pictures.all_of({"compare": data})["bench-compare.svg"])
    bars = [float(each.get("width")) for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(bars) == 3
    assert bars[2] == pytest.approx(20 * bars[0], rel=0.01)
    text = "".join(root.itertext())
    assert "10.00 s, 7 requests lost" in text
    assert "prefers-color-scheme: dark" in text


def test_a_stacked_plot_has_the_parts_of_each_row():
    root = xml.fromstring(plot.stacked("Phases <1>", [("a & b", [("x", 1.0), ("y", 2.0)]), ("c", [("x", 0.5)])]))
    widths = [float(each.get("width")) for each in root.iter("{http://www.w3.org/2000/svg}rect")][2:]
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)
    assert widths[2] == pytest.approx(widths[0] / 2, rel=0.01)
    assert root.get("aria-label") == "Phases <1>"
    assert len(set(plot.COLOURS)) >= len(plan.phases(0, 3, [{"name": "publish", "begin": 1, "pid": 1}, JOB])) == 9


def test_the_phases_of_a_command_are_all_of_its_time():
    def mark(name, begin, seconds=0.0, pid=7):
        return {"name": name, "pid": pid, "begin": begin, "seconds": seconds}

    marks = [mark("job", 100.9, pid=3), mark("return", 101.0, pid=3), mark("publish", 100.5, pid=1), mark("job", 101.1)]
    marks += [mark("pillar", 101.2, 0.2), mark("sync", 101.5, 0.1), mark("settings", 101.6, 0.2)]
    marks += [mark("render", 101.4, 0.5), mark("states", 102.0, 1.5), mark("return", 103.7), mark("pillar", 99.0, 9.0)]
    other = [mark("job", 101.0, pid=4)]  # of another process, later ended
    found = plan.phases(100.0, 104.0, marks)
    assert found["publish"] == pytest.approx(0.4), "the first job after the publish, not one that ran before"
    found = plan.phases(100.0, 104.0, [each for each in marks if each["pid"] != 3])
    assert found == pytest.approx(
        {
            **{"salt begins": 0.5, "publish": 0.6, "pillar": 0.2, "sync": 0.1, "settings": 0.2, "render": 0.2},
            **{"states": 1.5, "minion": 0.4, "return": 0.3},
        }
    )
    assert sum(found.values()) == pytest.approx(4.0)
    assert plan.phases(1.0, 2.0, other) == {"salt begins": 1.0}


def test_each_part_has_its_table():
    took = [{"wall": 2.0, "control": 4.0, "memory": 100.0, "master": 300.0}]
    took += [{"wall": 3.0, "control": 6.0, "memory": 120.0, "master": 320.0}]
    known = {
        "phases": {
            "seen": {"nothing to do": [{"publish": 0.1, "states": 0.5}]},
            "states": {"nothing to do": [{"a.b": 1}]},
        },
        "growth": {"seen": {"rollout": {"2": took}}},
        "ledger": {"seen": {"globoapp.status": {"10": [1.0, 1.0], "10000": [1.5, 1.5]}}},
        "rest": {
            "seen": {"no minion": [{"master": 0.5}], "bare minion": [{"master": 0.6, "minion": 0.7, "memory": 99}]}
        },
        "faults": {"seen": {"x": [{"alert": None, "healed": 1.0}, {"alert": 2.0, "healed": 3.0}], "y": []}},
        "records": {
            **{
                "seen": {"inventory": [1.0], "alerts": [3.0]},
                "servers": 1000,
                "deploys": 10,
                "alerts": 4,
                "files": 2000,
            },
            **{"bytes": 2**20, "grown": 2048, "minutes": 3, "memory": 2**26, "reports": [0.001]},
        },
    }
    for part in known.values():
        part |= {"when": "2026-11-28", "processors": 2, "seconds": 60}
    text = report.document(known)
    assert "| nothing to do | 0.10 | 0.50 |" in text and "| nothing to do | a.b 1.00 |" in text
    assert (
        "| rollout | 2 | 2.50 (2.00-3.00) | 5.00 (4.00-6.00) | 2.50 (2.00-3.00) | 310 (300-320) | 110 (100-120) |"
        in text
    )
    assert "| globoapp.status | 1.00 | 1.50 | 1.50x | 1x |" in text
    assert "| no minion | - | - | 0.50 |" in text
    assert "| x | 2 | 2.0 | 2.0 | 2.0 | 3.0 |" in text and "| y | 0 | none | - | none | - |" in text
    assert (
        "| inventory | 1.00 | under 2 s | reached |" in text
        and "| alerts | 3.00 | under 2 s | **not reached** |" in text
    )
    assert "1.0 KiB per server and day, in 2.0 files; 3 more reports of each server added 2 KiB in all." in text


def test_raw_figures_are_json_of_many_lines():
    known = {"compare": comparison(shell=0.5)}
    assert json.loads(results.text(known)) == known
    assert results.text(known).count("\n") > 3


def test_the_rivals_files_are_sound():
    subprocess.run(["sh", "-n", str(RIVALS / "deploy.sh")], check=True)
    ast.parse((RIVALS / "pyinfra/deploy.py").read_text())
    (play,) = yaml.safe_load((RIVALS / "ansible/deploy.yml").read_text())
    assert [len(task) > 1 for task in play["tasks"]]
    for version, status in (("1.0", 404), ("1.1", 200)):
        wanted = {"version": version, "port": 8000, "path": "/status/", "status": status, "text": "x"}
        text = jinja2.Template((RIVALS / "salt/comments.sls").read_text()).render(pillar={"comments": wanted})
        states = yaml.safe_load(text)
        assert list(states)[-1] == "http://127.0.0.1:8000/status/"
