"""The test of the Vagrantfile: a course of real commands, and a keeper that clears everything away after it."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

from . import host, naming, steps, vagrantbox

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent.parent
LAB = naming.Lab(CHECKOUT, "vagrant")
LOG = naming.LOGS / f"test-vagrant-{LAB.id}.log"
STATE = LAB.state / "vagrant.json"
BOX = "globoapp-lab"
NETWORK = "10.0.3"  # of LXC's own bridge
LXC_NET = "/usr/libexec/lxc/lxc-net"
# What the containers need of the kernel; put back afterwards. Each systemd takes several inotify instances, and all
# machines of root share 128.
KERNEL = {"/proc/sys/net/ipv4/ip_forward": 1, "/proc/sys/fs/inotify/max_user_instances": 1024}
WEBS = ("web1", "web2")
# path -> Debian package that has it; "lxc" brings dnsmasq and a firewall tool
PATHS = {
    "/usr/bin/vagrant": "vagrant",
    "/usr/share/vagrant-plugins/plugins.d/vagrant-lxc.json": "vagrant-lxc",
    LXC_NET: "lxc",
}


def main():
    """Returns the exit code: 0 passed, 1 failed, 3 no containers can be run here."""
    begin = time.monotonic()
    why_not = host.obstacle()
    if why_not:
        print(f"lab/test-vagrant: containers cannot be run here: {why_not}", file=sys.stderr)
        return host.NO_MACHINES
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    naming.LOGS.mkdir(parents=True, exist_ok=True)
    naming.LOCKS.mkdir(parents=True, exist_ok=True)
    LOG.unlink(missing_ok=True)
    code = 1
    with open(naming.LOCKS / "vagrant.lock", "w") as lock:  # all labs share LXC's own bridge
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            host.install_tools()
            host.install({package for path, package in PATHS.items() if not os.path.exists(path)})
            clear()
            before = traces()
            with keeper() as tell:
                course(tell)
            steps.poll(lambda: traces() <= before, 20)  # a process that was killed takes a moment to be gone
            expect(sorted(traces() - before), [], "left behind on this machine")
            code = 0
        except steps.Failure as failure:
            print(f"lab/test-vagrant: {failure}", file=sys.stderr)
    steps.say(f"test-vagrant {'passed' if code == 0 else 'failed'} after {time.monotonic() - begin:.0f} s")
    return code


def course(tell):
    """From no machine to three, two deploys, provisioned anew, and away again.

    Args:
        tell: told the process group of each command, for the keeper to end.

    Raises:
        Failure: naming the step.
    """
    LAB.state.mkdir(parents=True, exist_ok=True)
    mine = not pathlib.Path("/run/lxc/network_up").exists()
    kernel = {path: int(pathlib.Path(path).read_text()) for path in KERNEL}
    STATE.write_text(json.dumps({"lxc_net": mine, "kernel": kernel}))
    for path, least in KERNEL.items():
        pathlib.Path(path).write_text(str(max(least, kernel[path])))
    box = vagrantbox.build(vagrantbox.public_key())
    if mine:
        with steps.step("LXC's bridge"):
            steps.run([LXC_NET, "start"], LOG)
    environ = {
        **os.environ,
        "VAGRANT_HOME": str(LAB.state / "home"),
        "VAGRANT_DOTFILE_PATH": str(LAB.state / "dot"),
        "VAGRANT_DEFAULT_PROVIDER": "lxc",
        "VAGRANT_CHECKPOINT_DISABLE": "1",
        "VAGRANT_NO_COLOR": "1",
        "GLOBOAPP_BOX": BOX,
        "GLOBOAPP_NETWORK": NETWORK,
    }
    lab = Vagrant(environ, tell)
    lab.run("box", "add", "--name", BOX, str(box))
    lab.run("validate")
    lab.run("up")
    machines_are_right(lab)
    for name in WEBS:
        expect(answer(name, "/api/comment/list/9")[0], 404, f"{name}, asked for comments that it has not")
    with steps.step("deploy of 1.1, by the command of the README"):
        deployed = lab.salt("state.apply", "globoapp", version="1.1")
        expect({name: bool(changes(states)) for name, states in deployed.items()}, dict.fromkeys(WEBS, True), "changes")
    for name in WEBS:
        expect(json.loads(answer(name, "/status/")[1])["version"], "1.1", f"{name} serves")
    with steps.step("the same again changes nothing"):
        nothing_to_do(lab.salt("state.apply", "globoapp", version="1.1"))
    lab.run("provision")
    with steps.step("nothing has changed by that"):
        nothing_to_do(lab.salt("state.apply", "globoapp", "test=True"))
        served = {name: status["version"] for name, status in lab.salt("globoapp.status").items()}
        expect(served, dict.fromkeys(WEBS, "1.1"), "versions")
    lab.run("destroy", "--force")
    expect(containers(), [], "containers after vagrant destroy")


class Vagrant:
    """Vagrant in an environment of its own, its commands in process groups of their own."""

    def __init__(self, environ, tell):
        self.environ, self.tell = environ, tell

    def run(self, *words, quiet=False):
        """Runs `vagrant WORDS` in the checkout and returns its output (str).

        Raises:
            Failure: with the end of its output.
        """
        with contextlib.nullcontext() if quiet else steps.step(f"vagrant {' '.join(words[:2])}"):
            argv = ["setpriv", "--pdeathsig", "KILL", "vagrant", *words]
            process = subprocess.Popen(
                argv,
                cwd=CHECKOUT,
                env=self.environ,
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.tell(process.pid)
            with open(LOG, "a", encoding="utf-8") as log:
                log.write(f"$ {' '.join(argv[3:])}\n")
                output = ""
                for line in process.stdout:
                    output += line
                    log.write(line)
                    log.flush()
            if process.wait():
                raise steps.Failure(f"exit code {process.returncode}\n{steps.last_lines(output, 25)}", LOG)
            return output

    def inside(self, name, command):
        """Returns what a command line prints on a machine."""
        return self.run("ssh", "--no-tty", name, "--command", command, quiet=True)

    def salt(self, *words, version=None):
        """Returns {minion: answer} of `salt 'web*' WORDS`, with the pillar of the README where a version is given.

        Raises:
            Failure: when a minion is missing.
        """
        pillar = f" pillar='{json.dumps({'version': version})}'" if version else ""
        output = self.inside("master", f"sudo salt --static --out=json 'web*' {' '.join(words)}{pillar}")
        try:
            answers = json.loads(output[output.index("{") :])
        except ValueError:
            raise steps.Failure(f"no JSON\n{steps.last_lines(output)}", LOG) from None
        expect(sorted(answers), list(WEBS), "minions that answered")
        return answers


def machines_are_right(lab):
    """All run Debian 12, with systemd and the Salt that was asked for, and what was uploaded is gone."""
    with steps.step("the machines are what the Vagrantfile says"):
        for name in ("master", *WEBS):
            asked = ". /etc/os-release; echo $VERSION_ID $(cat /proc/1/comm) $(ls /run | grep -c ^globoapp-lab)"
            seen = lab.inside(name, asked).split()[-3:]
            expect(seen, ["12", "systemd", "0"], f"Debian, init and what provisioning left on {name}")
        wanted = lab.inside("master", "cat /opt/salt/.installed").split()
        pinned = (CHECKOUT / "lab/provision/salt.txt").read_text()
        if not os.environ.get("GLOBOAPP_SALT"):
            expect([one for one in wanted if one in pinned], wanted, "requirements that Salt was installed by")


def answer(name, path):
    """Returns (status, body) of a web server's answer."""
    address = f"{NETWORK}.{10 + ('master', *WEBS).index(name)}"
    try:
        with urllib.request.urlopen(f"http://{address}:8000{path}", timeout=10) as found:
            return found.status, found.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        raise steps.Failure(f"no answer from http://{address}:8000{path}: {error}") from error


def changes(states):
    """Returns the comments (list of str) of states that changed or would change something, or failed."""
    if not isinstance(states, dict):
        return [str(states)]
    return [one["comment"] for one in states.values() if one["changes"] or one["result"] is not True]


def nothing_to_do(answers):
    """Raises Failure where a state of any minion changed, would change, or failed."""
    expect({name: changes(states) for name, states in answers.items()}, {name: [] for name in WEBS}, "changes")


def expect(seen, wanted, what):
    """Raises Failure where two values differ."""
    if seen != wanted:
        raise steps.Failure(f"{what}: {seen!r} in place of {wanted!r}", LOG)


@contextlib.contextmanager
def keeper():
    """Forks a process that waits for our end, by whatever cause, and clears everything away then.

    Yields:
        function that tells it of a process group to end.
    """
    ours, theirs = os.pipe()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            os.close(theirs)
            with os.fdopen(ours) as told:
                groups = [int(line) for line in told]
            for group in groups:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(group, signal.SIGKILL)
            clear()
            code = 0
        finally:
            os._exit(code)
    os.close(ours)
    try:
        yield lambda group: os.write(theirs, f"{group}\n".encode())
    finally:
        os.close(theirs)
        with steps.step("clearing away"):
            status = os.waitpid(pid, 0)[1]
    if status:
        raise steps.Failure("what the test had made could not be cleared away: see above")


def containers():
    """Returns the names of the test's containers (list of str)."""
    return sorted(path.name for path in pathlib.Path("/var/lib/lxc").glob(f"globoapp-{NETWORK.replace('.', '-')}-*"))


def traces():
    """Returns what a run could leave on this machine (set of str): containers, interfaces, processes, rules, files."""
    found = {f"container {path.name}" for path in pathlib.Path("/var/lib/lxc").glob("*/")}
    for link in pathlib.Path("/sys/class/net").iterdir():
        if re.match("lxcbr|veth", link.name):
            found.add(f"interface {link.name}")
    for process in pathlib.Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if process.read_text().strip() in ("dnsmasq", "lxc-start", "redir"):
                found.add(f"process {process.parent.name} ({process.read_text().strip()})")
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout.splitlines()
    found.update(f"firewall {table}" for table in tables if table.endswith(" lxc"))
    found.update(f"file {path}" for path in (LAB.state, CHECKOUT / ".vagrant") if path.exists())
    found.update(f"cgroup {path}" for path in cgroups())
    return found | {f"{path} {pathlib.Path(path).read_text().strip()}" for path in KERNEL}


def cgroups():
    """Returns LXC's cgroups (list of Path), children before their parents."""
    tops = [*pathlib.Path("/sys/fs/cgroup").glob("lxc*"), *pathlib.Path("/sys/fs/cgroup").glob("*/lxc*")]
    return [path for top in tops for path in (*sorted(top.glob("**/"), reverse=True),)]


def clear():
    """Removes all that a run of this test has made, also one that was cut off."""
    try:
        known = json.loads(STATE.read_text())
    except FileNotFoundError:
        return
    for name in containers():
        subprocess.run(["lxc-stop", "--kill", "--name", name], capture_output=True)  # it may not run
    # lxc-destroy would refuse one that was never finished.
    steps.run(["rm", "-rf", "--one-file-system", *(f"/var/lib/lxc/{name}" for name in containers())])
    if known["lxc_net"] and pathlib.Path("/run/lxc/network_up").exists():
        steps.run([LXC_NET, "stop"], LOG)
    for path, value in known["kernel"].items():
        pathlib.Path(path).write_text(str(value))
    for cgroup in cgroups():
        with contextlib.suppress(OSError):  # not empty: somebody else's container runs
            cgroup.rmdir()
    shutil.rmtree(LAB.state)
