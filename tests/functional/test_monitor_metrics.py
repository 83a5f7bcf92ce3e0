"""The metrics, judged by Debian's own promtool, node_exporter and Prometheus."""

import json
import os
import subprocess
import urllib.parse
import urllib.request

import debian
import pytest
from polling import until
from ports import free_port
from watchmaster import Master, event, line, report


def program(name, package):
    try:
        return debian.program(name, package)
    except (RuntimeError, FileNotFoundError) as error:
        return pytest.skip(str(error))


@pytest.fixture
def master(tmp_path):
    made = Master(tmp_path)
    made.run("globoapp_watch.report", "web1", report(deploys=[line("a" * 32)]))
    made.run("globoapp_watch.report", "web2", report(healthy=False, disk={'/mnt/a "b"\\c\nd': 12.5}))
    made.run("globoapp.alert", "web1", event("disk", "bad"))
    return made


def test_promtool_finds_nothing_to_complain_of(master, tmp_path):
    tool, environment = program("promtool", "prometheus")
    done = master.run("globoapp.metrics", path=str(tmp_path / "globoapp.prom"))
    assert done == {"path": str(tmp_path / "globoapp.prom"), "servers": 2}
    text = (tmp_path / "globoapp.prom").read_text()
    checked = subprocess.run([tool, "check", "metrics"], input=text, capture_output=True, text=True, env=environment)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    assert 'globoapp_info{app="globoapp",host="web1",port="8000",version="1.0"} 1.0' in text


def test_what_promtool_calls_wrong_is_seen(tmp_path):
    tool, environment = program("promtool", "prometheus")
    checked = subprocess.run(
        [tool, "check", "metrics"], input="a{ 1\n", capture_output=True, text=True, env=environment
    )
    assert checked.returncode != 0


def test_the_file_is_replaced_whole(master, tmp_path):
    path = tmp_path / "globoapp.prom"
    path.write_text("old\n")
    with path.open() as reader:
        master.run("globoapp.metrics", path=str(path))
        assert reader.read() == "old\n", "who reads meanwhile sees one or the other"
    assert path.read_text().startswith("# HELP")
    assert [one.name for one in tmp_path.glob(".write-*")] == []
    assert os.stat(path).st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("path", "words"), [("/nowhere/x.prom", "/nowhere is not there"), ("/tmp/x.txt", "end in .prom only")]
)
def test_a_path_that_cannot_work_is_refused(master, path, words):
    with pytest.raises(Exception, match=words):
        master.run("globoapp.metrics", path=path)


@pytest.fixture
def daemons(tmp_path):
    """Starts programs, their output to files below tmp_path, and ends them after the test."""
    started = []

    def start(name, package, *arguments):
        path, environment = program(name, package)
        with (tmp_path / f"{name}.log").open("w") as log:
            started.append(subprocess.Popen([path, *arguments], env=environment, stdout=log, stderr=log))

    yield start
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


def test_a_real_scrape(master, tmp_path, daemons):
    (tmp_path / "textfile").mkdir()
    master.run("globoapp.metrics", path=str(tmp_path / "textfile/globoapp.prom"))
    exporter, prometheus = free_port(), free_port()
    daemons(
        "prometheus-node-exporter", "prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{exporter}",
        "--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={tmp_path}/textfile",
    )  # fmt: skip
    (tmp_path / "prometheus.yml").write_text(
        "scrape_configs:\n- job_name: node\n  scrape_interval: 1s\n  static_configs:\n"
        f"  - targets: ['127.0.0.1:{exporter}']\n"
    )
    daemons(
        "prometheus", "prometheus", f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus}",
    )  # fmt: skip

    def ask(query):
        url = f"http://127.0.0.1:{prometheus}/api/v1/query?query={urllib.parse.quote(query)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found = json.load(answer)["data"]["result"]
        except OSError:
            return None
        return {one["metric"].get("host"): one["value"][1] for one in found}

    assert until(lambda: ask("globoapp_up")) == {"web1": "1", "web2": "0"}
    assert ask('globoapp_alert{probe="disk"}') == {"web1": "1"}
    assert ask("node_textfile_scrape_error") == {None: "0"}
