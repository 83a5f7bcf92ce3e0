"""The disks that machines start from: overlay layers, cached by a hash of what they are made of.

    base-<suite>          Debian by mmdebstrap: packages.base
    salt-<suite>          /opt/salt, made by provision/salt.sh over the base
    <role>-<suite>        packages.<role> over the base

The compiler that Salt's installation needs stays in a throwaway overlay: only /opt/salt is taken out of it.
"""

import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import tempfile
import time
from dataclasses import dataclass

from . import host, naming, steps

LAB = pathlib.Path(__file__).resolve().parent.parent
KEEP_DAYS = 30
# The image is complete or thrown away: dpkg need not sync each file to the disk.
DPKG_OPTIONS = ("force-unsafe-io", "path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*")

# Last words of every base image: units that a machine of minutes has no use for, a journal that survives a power cut.
FINISH_BASE = """\
set -eu
systemctl enable systemd-networkd.service
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \\
    systemd-networkd-wait-online.service systemd-firstboot.service getty.target console-getty.service
mkdir -p /var/log/journal /etc/systemd/journald.conf.d
printf '[Journal]\\nStorage=persistent\\nSystemMaxUse=64M\\nRateLimitIntervalSec=0\\n' \\
    > /etc/systemd/journald.conf.d/lab.conf
rm -f /etc/machine-id /etc/hostname /etc/resolv.conf
: > /etc/machine-id
"""

# A chroot in a mount and process namespace of its own: whatever happens, nothing of it outlives the command.
IN_OVERLAY = """\
set -eu
mount -t overlay overlay -o "lowerdir=$LOWER,upperdir=$WORK/upper,workdir=$WORK/work" "$WORK/root"
mount -t proc proc "$WORK/root/proc"
mount --rbind /dev "$WORK/root/dev"
mount -t tmpfs tmpfs "$WORK/root/tmp"
mkdir -p "$WORK/root/tmp/lab"
mount --bind "$LAB" "$WORK/root/tmp/lab"
for path in /etc/resolv.conf /etc/hosts; do
    : >> "$WORK/root$path"
    mount --bind "$path" "$WORK/root$path"
done
for path in $SHOW; do
    if [ -d "$path" ]; then mkdir -p "$WORK/root$path"; else mkdir -p "$WORK/root${path%/*}"; : >> "$WORK/root$path"; fi
    mount --bind "$path" "$WORK/root$path"
done
exec chroot "$WORK/root" "$@"
"""


@dataclass(frozen=True)
class Layer:
    """One directory of the cache.

    kind is "base", "salt" or a role; recipe is the text whose hash names the layer; base is the layer below or None.
    """

    kind: str
    suite: str
    recipe: str
    base: "Layer | None" = None

    @property
    def key(self):
        """Returns the name of the directory: "base-bookworm-0f3a...", other for every other recipe."""
        text = "\0".join([self.kind, self.suite, self.recipe, self.base.key if self.base else ""])
        return f"{self.kind}-{self.suite}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def path(self):
        """Returns the directory of the finished layer."""
        return naming.CACHE / self.key

    @property
    def log(self):
        """Returns the log of the layer's making."""
        return naming.LOGS / f"{self.key}.log"


def packages(kind):
    """Returns the Debian packages (list of str) that packages.<kind> names."""
    lines = (LAB / f"packages.{kind}").read_text().splitlines()
    return sorted(line.split("#")[0].strip() for line in lines if line.split("#")[0].strip())


def salt_requirement():
    """Returns the Salt that is asked for by GLOBOAPP_SALT, or "" for the one that provision/salt.txt pins."""
    return os.environ.get("GLOBOAPP_SALT", "")


def layers(suite, role):
    """Returns the layers (list of Layer, lowest first) that a machine's disk starts from.

    Args:
        suite: Debian's name.
        role: "master", "web", "db" or "lb".
    """
    base = Layer("base", suite, FINISH_BASE + " ".join([*packages("base"), *DPKG_OPTIONS]))
    salt_recipe = "".join((LAB / "provision" / name).read_text() for name in ("salt.sh", "salt.txt"))
    found = [base, Layer("salt", suite, salt_recipe + salt_requirement(), base)]
    if packages(role):
        found.append(Layer(role, suite, " ".join(packages(role)), base))
    return found


def build(wanted):
    """Makes the layers that the cache lacks, side by side where they do not need each other.

    Args:
        wanted: iterable of (suite, role).

    Raises:
        Failure: naming the layer and its log.
    """
    needed = {layer.key: layer for pair in wanted for layer in layers(*pair)}
    missing = {key: layer for key, layer in needed.items() if not layer.path.exists()}
    for key in needed.keys() - missing.keys():
        os.utime(naming.CACHE / key)
    if not missing:
        return
    sweep()
    naming.LOGS.mkdir(parents=True, exist_ok=True)
    for lowest in (True, False):
        batch = [layer for layer in missing.values() if (layer.base is None) is lowest]
        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(batch))) as pool:
            for future in [pool.submit(_build, layer) for layer in batch]:
                future.result()


def _build(layer):
    with steps.step(f"image {layer.key}"), only_one(layer.key):
        if layer.path.exists():
            return
        layer.log.unlink(missing_ok=True)
        work = pathlib.Path(tempfile.mkdtemp(prefix=f"tmp-{layer.key}-", dir=naming.CACHE))
        # Not removed when it fails: the leftovers may tell why, and the next build clears them.
        made = {"base": _make_base, "salt": _make_salt}.get(layer.kind, _make_role)(layer, work)
        made.chmod(0o755)
        made.rename(layer.path)
        shutil.rmtree(work)


def sweep():
    """Removes what killed builds left in the cache, and layers that no `up` has needed for a month.

    What a machine's disk lies on stays, however old it is.
    """
    used = {key for path in naming.STATE.glob("*/*/lower") for key in path.read_text().split()}
    for path in filter(pathlib.Path.is_dir, naming.CACHE.glob("*-*-*")):
        if path.name.startswith("tmp-"):
            with contextlib.suppress(BlockingIOError), only_one(path.name.split("-", 1)[1].rpartition("-")[0], False):
                shutil.rmtree(path, ignore_errors=True)  # it may be finished and gone by now
        elif path.name not in used and time.time() - path.stat().st_mtime > KEEP_DAYS * 86400:
            with only_one(path.name):
                # Under another name first: a layer is complete or absent.
                shutil.rmtree(path.rename(naming.CACHE / f"tmp-{path.name}-old"))


@contextlib.contextmanager
def only_one(key, wait=True):
    """Holds a layer's lock: another checkout may be making the same. BlockingIOError when we are not to wait."""
    naming.LOCKS.mkdir(parents=True, exist_ok=True)
    with open(naming.LOCKS / f"{key}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise
            steps.say(f"image {key}: somebody else is making it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _contained(argv):
    """Returns argv so wrapped that everything it starts or mounts ends with it, and it with us."""
    return ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", *argv]


def _make_base(layer, work):
    root = work / "root"
    sources = "\n".join(host.debian_sources(layer.suite))
    argv = ["mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(packages('base'))}"]
    argv += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    argv += [f'--customize-hook=chroot "$1" sh -c {_quote(FINISH_BASE)}', layer.suite, str(root)]
    steps.run(_contained([*argv, "-"] if sources else argv), layer.log, input=sources.encode() if sources else None)
    return root


def _make_salt(layer, work):
    uv_cache = naming.CACHE / "uv"
    uv_cache.mkdir(parents=True, exist_ok=True)
    environ = {**host.pip_environment(), "UV_CACHE_DIR": str(uv_cache), "GLOBOAPP_SALT": salt_requirement()}
    show = [*host.named_paths(environ), str(uv_cache)]
    _in_overlay(layer, work, ["sh", "/tmp/lab/provision/salt.sh"], environ, show)
    made = work / "made"
    for path in ("opt/salt", "usr/local/bin"):
        (made / path).parent.mkdir(parents=True, exist_ok=True)
        (work / "upper" / path).rename(made / path)
    return made


def _make_role(layer, work):
    script = """set -eu
        apt-get -q update --error-on=any
        apt-get -q install -y --no-install-recommends "$@"
        apt-get clean
        rm -rf /var/lib/apt/lists/*"""
    _in_overlay(layer, work, ["sh", "-c", script, "sh", *packages(layer.kind)], host.pip_environment(), [])
    return work / "upper"


def _in_overlay(layer, work, argv, environ, show):
    """Runs a command in a chroot over the layer's base, with this machine's network and the paths in `show`."""
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    environ = {
        **environ,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        "LOWER": str(layer.base.path),
        "WORK": str(work),
        "LAB": str(LAB),
        "SHOW": " ".join(show),
    }
    steps.run(_contained(["sh", "-c", IN_OVERLAY, "sh", *argv]), layer.log, env=environ)
    for name in ("resolv.conf", "hosts"):
        (work / "upper/etc" / name).unlink(missing_ok=True)


def _quote(text):
    return "'" + text.replace("'", "'\\''") + "'"
