"""Images and pods for tests: podman with a storage of its own, a registry on loopback; nothing outlives the process.

A podman that has no booted systemd around it needs some settings, and what it starts belongs to nobody. So a guardian,
a process of its own, takes all of it away when this one ends, however it ends.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import yaml
from debian import program
from polling import until
from ports import free_port

CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_config_dir = "{work}/networks"
default_subnet = "172.30.254.0/24"
default_subnet_pools = [{{"base" = "172.30.128.0/18", "size" = 24}}]
"""
REGISTRIES = '[[registry]]\nlocation = "127.0.0.1"\ninsecure = true\n'
REGISTRY = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {work}/registry}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: warn}}
"""


class Podman:
    """podman with its storage, networks and configuration below a directory (Path) in /tmp."""

    def __init__(self, work):
        self.work = work

    def command(self, *words):
        """Returns the words (list) that run podman."""
        store = ["--root", f"{self.work}/store", "--runroot", f"{self.work}/run", "--storage-driver", "vfs"]
        return ["podman", *store, *words]

    @property
    def environment(self):
        """Returns the variables that podman is to have (dict)."""
        conf = {"CONTAINERS_CONF": "containers.conf", "CONTAINERS_REGISTRIES_CONF": "registries.conf"}
        return {**os.environ, **{key: f"{self.work}/{name}" for key, name in conf.items()}}

    def run(self, *words, check=True, **options):
        """Runs podman; returns the finished process. Raises AssertionError with what it said."""
        done = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=120, **options
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}{done.stdout}"
        return done

    def start(self):
        """Writes the configuration, and starts the guardian; returns self."""
        (self.work / "containers.conf").write_text(CONF.format(work=self.work))
        (self.work / "registries.conf").write_text(REGISTRIES)
        self.guardian = subprocess.Popen(
            [sys.executable, __file__, str(self.work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self

    def close(self):
        """Lets the guardian take all away, and waits for it."""
        self.guardian.stdin.close()
        self.guardian.wait(timeout=120)

    def play(self, documents):
        """Runs the Deployment of manifests; returns the name of its container (str).

        documents is {"serve/deployment": dict, ...}. podman 4.3 reads a Secret for envFrom in a form of its own only.
        """
        secret = documents["prepare/secret"]
        self.run("secret", "create", secret["metadata"]["name"], "-", input=json.dumps(secret["data"]))
        kinds = ("prepare/configmap", "prepare/persistentvolumeclaim", "serve/deployment")
        text = yaml.safe_dump_all([documents[kind] for kind in kinds if kind in documents])
        self.run("play", "kube", "-", input=text)
        return f"{documents['serve/deployment']['metadata']['name']}-pod-0-web"

    def python(self, container, code):
        """Runs code (str) by the Python of a container; returns what it printed, read as JSON."""
        return json.loads(self.run("exec", container, "python3", "-c", code).stdout)


def take_away(work):
    """Takes away all that a podman with its things in work (Path) has, and them."""
    podman = Podman(work)
    for words in (["pod", "rm", "-fa", "-t", "0"], ["rm", "-fa", "-t", "0"], ["network", "prune", "-f"]):
        with contextlib.suppress(subprocess.TimeoutExpired):
            podman.run(*words, check=False)
    named = podman.run("network", "ls", "-q", check=False).stdout.split()
    for name in named:
        podman.run("network", "rm", "-f", name, check=False)
    with contextlib.suppress(FileNotFoundError):
        os.kill(int((work / "registry.pid").read_text()), 9)
    for line in Path("/proc/self/mounts").read_text().splitlines()[::-1]:
        if line.split()[1].startswith(f"{work}/"):
            subprocess.run(["umount", "-l", line.split()[1]], check=False)
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def podman():
    """A Podman for as long as the block runs."""
    started = Podman(Path(tempfile.mkdtemp(prefix="pods-", dir="/tmp"))).start()
    try:
        yield started
    finally:
        started.close()


def registry(podman):
    """Starts Debian's docker-registry; returns where it listens (str). The guardian of podman ends it."""
    path, environment = program("docker-registry", "docker-registry")
    port = free_port()
    (podman.work / "registry.yml").write_text(REGISTRY.format(work=podman.work, port=port))
    with open(podman.work / "registry.log", "wb") as log:
        process = subprocess.Popen(
            [path, "serve", f"{podman.work}/registry.yml"], env=environment, stdin=subprocess.DEVNULL, stdout=log,
            stderr=log,
        )  # fmt: skip
    (podman.work / "registry.pid").write_text(str(process.pid))

    def answers():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=5) as answer:
            return answer.status == 200
        assert process.poll() is None, (podman.work / "registry.log").read_text()
        return False

    until(answers, 30)
    return f"127.0.0.1:{port}"


if __name__ == "__main__":  # the guardian
    sys.stdin.read()  # its end is the end of who started it
    take_away(Path(sys.argv[1]))
