"""Where everything of an app is on a host, and what its units are called: the one place that builds names."""

import ipaddress
import os
import re
from dataclasses import dataclass

from globolib.address import PATH, UNIX, Address

UNITS = "/etc/systemd/system"
# The roles that a release runs in: it serves, it is tried, it serves while it restarts. What unit names have of them.
LIVE, CANDIDATE, STANDIN = "", "-candidate", "-standin"
# A program that is run with a release's code; ONCE begins the instance of one that a person runs.
COMMAND, ONCE = "-command", "once-"
RELEASE = re.compile(r"PACK\d+(_\d+){1,3}\Z")


def release_of(version: str) -> str:
    """The directory name and unit instance of a version: ``1.2.3`` is ``PACK1_2_3``."""
    return "PACK" + version.replace(".", "_")


def version_of(release: str) -> str:
    """The version of a release: ``PACK1_2_3`` is ``1.2.3``."""
    return release.removeprefix("PACK").replace("_", ".")


def order(version: str) -> tuple[int, ...]:
    """What versions are sorted by: 1.10 comes after 1.9."""
    return tuple(int(part) for part in version.split("."))


@dataclass(frozen=True)
class Layout:
    """
    name
        The app's.
    root
        Where its releases are.
    units, run
        The directories of unit files and of runtime directories; other ones in tests.
    """

    name: str
    root: str
    units: str = UNITS
    run: str = "/run"

    @property
    def own(self) -> str:
        """The directory of what the tree itself keeps."""
        return os.path.join(self.root, ".globoapp")

    @property
    def state(self) -> str:
        """The app's StateDirectory: what it keeps."""
        return f"/var/lib/{self.name}"

    @property
    def current(self) -> str:
        """The link to the deployed release."""
        return os.path.join(self.root, "current")

    @property
    def ledger(self) -> str:
        """The ledger: a line for each deploy."""
        return os.path.join(self.root, "deployments.jsonl")

    @property
    def virtualenvs(self) -> str:
        """The directory of the virtualenvs, one for each lock and interpreter."""
        return os.path.join(self.root, "virtualenvs")

    @property
    def wants(self) -> str:
        """The directory of the links to what starts at boot."""
        return os.path.join(self.units, "multi-user.target.wants")

    def own_file(self, *names: str) -> str:
        """A path below ``.globoapp``, where the tree keeps what it knows."""
        return os.path.join(self.own, *names)

    @property
    def lock(self) -> str:
        """The file that a deploy holds locked."""
        return self.own_file("lock")

    @property
    def note(self) -> str:
        """What a deploy that is under way has noted of itself."""
        return self.own_file("deploying.json")

    @property
    def maintenance(self) -> str:
        """Whether, and until when, the app is in maintenance: a JSON file."""
        return self.own_file("maintenance.json")

    @property
    def artifacts(self) -> str:
        """The directory of the host's own copies of artifacts."""
        return self.own_file("artifacts")

    @property
    def records(self) -> str:
        """The directory of what each release was made of."""
        return self.own_file("releases")

    @property
    def failures(self) -> str:
        """The directory of the logs of releases that failed."""
        return self.own_file("failed")

    @property
    def commands(self) -> str:
        """The directory of what release commands have written."""
        return self.own_file("commands")

    @property
    def aside(self) -> str:
        """The directory of files that were found in a release and did not belong there."""
        return self.own_file("aside")

    @property
    def gunicorn_conf(self) -> str:
        """gunicorn's settings for every release."""
        return self.own_file("gunicorn.conf.py")

    @property
    def gunicorn_settings(self) -> str:
        """What pillar says of gunicorn, beside gunicorn.conf.py, which reads it: a JSON file."""
        return self.own_file("gunicorn.json")

    @property
    def looked(self) -> str:
        """When the beacon looked last: gone with the boot."""
        return os.path.join(self.run, f"{self.name}-looked")

    @property
    def candidate(self) -> str:
        """The directory of what candidates read: nothing that the deployed release reads changes before a trial."""
        return self.own_file("candidate")

    def candidate_environment(self, release: str) -> str:
        """The environment file of a release's candidate."""
        return os.path.join(self.candidate, f"{release}.env")

    @property
    def candidate_gunicorn_conf(self) -> str:
        """gunicorn's settings for candidates."""
        return os.path.join(self.candidate, "gunicorn.conf.py")

    @property
    def candidate_gunicorn_settings(self) -> str:
        """What pillar says of gunicorn, for candidates."""
        return os.path.join(self.candidate, "gunicorn.json")

    @property
    def self_signed(self) -> tuple[str, str]:
        """A self-signed certificate and its key: files."""
        return self.own_file("proxy", "certificate.pem"), self.own_file("proxy", "key.pem")

    @property
    def proxy(self) -> str:
        """What the proxy has taken up: a JSON file, not there without one."""
        return self.own_file("proxy.json")

    @property
    def beside(self) -> str:
        """The link to the release whose static files are needed too: the new one in a deploy, then the one before."""
        return self.own_file("beside")

    def release(self, release: str) -> str:
        """The directory of a release."""
        return os.path.join(self.root, release)

    def incoming(self, release: str) -> str:
        """Where a release is unpacked before it is complete."""
        return os.path.join(self.root, f".incoming-{release}")

    def record(self, release: str) -> str:
        """What a release was made of: a JSON file."""
        return os.path.join(self.records, f"{release}.json")

    def environment(self, release: str) -> str:
        """The environment file of a release."""
        return self.own_file(f"{release}.env")

    def started(self, release: str) -> str:
        """What the running instance of a release had read when it started: a JSON file."""
        return self.own_file("started", f"{release}.json")

    def artifact(self, version: str) -> str:
        """The host's own copy of an artifact."""
        return os.path.join(self.artifacts, f"{self.name}-{version}.zip")

    def virtualenv(self, name: str) -> str:
        """A virtualenv by its name."""
        return os.path.join(self.virtualenvs, name)

    def instance(self, release: str, role: str = LIVE) -> str:
        """The unit of a release in a role: ``globoapp@PACK1_0.service``."""
        return f"{self.name}{role}@{release}.service"

    def process(self, release: str, process: str) -> str:
        """The unit of a background process of a release: ``globoapp-worker@PACK1_0.service``."""
        return self.instance(release, f"-{process}")

    def process_file(self, unit: str) -> str:
        """The file of the unit of a background process. It is the instance's own: each release has other words."""
        return os.path.join(self.units, unit)

    @property
    def activate(self) -> str:
        """The unit that a socket starts when a client comes and no release runs."""
        return f"{self.name}-activate.service"

    def socket(self, address: Address) -> str:
        """
        The socket unit of an address: ``globoapp-0.0.0.0:8000.socket``; of a path
        ``globoapp-unix:run:shop.sock.socket``, since a unit's name has no slash, and a path of ours no colon.
        """
        written = UNIX + address.path[1:].replace("/", ":") if address.path else str(address)
        return f"{self.name}-{written}.socket"

    def address_of(self, unit: str) -> Address | None:
        """The address of a socket unit of this app; None where the unit is something else."""
        match = re.fullmatch(re.escape(f"{self.name}-") + r"(.+):([^:]+)\.socket", unit)
        if not match:
            return None
        if f"{match[1]}:".startswith(UNIX):
            path = f"{match[1]}:{match[2]}".removeprefix(UNIX).replace(":", "/")
            return Address(path=f"/{path}") if PATH.match(f"/{path}") else None
        try:
            address = Address(str(ipaddress.ip_address(match[1])), int(match[2]))
        except ValueError:
            return None
        return address if self.socket(address) == unit else None

    def unit_file(self, unit: str) -> str:
        """The file of a unit; of an instance that of its template."""
        name, at, instance = unit.partition("@")
        return os.path.join(self.units, f"{name}@.{instance.rpartition('.')[2]}" if at else unit)

    def drop_ins(self, role: str = LIVE) -> str:
        """The directory of the drop-ins of every instance, in a role."""
        return self.unit_file(self.instance("", role)) + ".d"

    @property
    def handed(self) -> str:
        """The drop-in that names the sockets which instances get."""
        return os.path.join(self.drop_ins(), "sockets.conf")

    def enabled(self, release: str) -> str:
        """The link that starts a release at boot."""
        return os.path.join(self.wants, self.instance(release))

    def runtime(self, release: str, role: str = LIVE) -> str:
        """The runtime directory of an instance, where its workers say that they have loaded the app."""
        return os.path.join(self.run, f"{self.name}{role}", release)

    def candidate_socket(self, release: str) -> str:
        """The private unix socket of a candidate."""
        return os.path.join(self.runtime(release, CANDIDATE), "gunicorn.sock")
