"""The LXC box that the test of the Vagrantfile starts from: Debian 12 by mmdebstrap, cached like the images."""

import contextlib
import fcntl
import hashlib
import json
import pathlib
import shutil
import subprocess
import tempfile

from . import host, image, naming, steps

SUITE = "bookworm"

# What uv has fetched and built for the lab's own images serves here too: three installations of Salt in seconds.
UV_CACHE = "/var/cache/uv"

# What Vagrant expects of every box, and units that a container of minutes has no use for.
FINISH = """\
set -eu
useradd --create-home --shell /bin/bash vagrant
echo 'vagrant ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/vagrant
install -d -m 700 -o vagrant -g vagrant /home/vagrant/.ssh
install -m 600 -o vagrant -g vagrant /tmp/vagrant.pub /home/vagrant/.ssh/authorized_keys
rm /tmp/vagrant.pub
printf 'auto lo\\niface lo inet loopback\\n' > /etc/network/interfaces
sed -i 's/^#UseDNS.*/UseDNS no/' /etc/ssh/sshd_config
systemctl mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \\
    systemd-firstboot.service getty.target console-getty.service systemd-networkd.service \\
    systemd-ask-password-console.path systemd-ask-password-wall.path
rm -f /etc/machine-id /etc/hostname /etc/resolv.conf
: > /etc/machine-id
echo 'nameserver 10.0.3.1' > /etc/resolv.conf
"""

LXC_CONFIG = """\
lxc.include = /usr/share/lxc/config/common.conf
lxc.arch = linux64
lxc.apparmor.profile = unconfined
lxc.net.0.type = veth
lxc.net.0.link = lxcbr0
lxc.net.0.flags = up
"""


def _files(public_key):
    """Returns {path in the box: text}: the vagrant user's key, and this machine's way to its package indexes."""
    environ = {**host.pip_environment(), "UV_CACHE_DIR": UV_CACHE}
    profile = "".join(f"export {name}='{value}'\n" for name, value in sorted(environ.items()))
    return {"/tmp/vagrant.pub": public_key, "/etc/profile.d/package-index.sh": profile}


def _lxc_config():
    """Returns the text of the box's lxc-config; indexes and certificates that are files of this machine are shown."""
    lines = [f"lxc.mount.entry = {naming.CACHE / 'uv'} {UV_CACHE.lstrip('/')} none bind,rw,create=dir 0 0\n"]
    for path in host.named_paths(host.pip_environment()):
        kind = "dir" if pathlib.Path(path).is_dir() else "file"
        lines.append(f"lxc.mount.entry = {path} {path.lstrip('/')} none bind,ro,create={kind} 0 0\n")
    return LXC_CONFIG + "".join(lines)


def build(public_key):
    """Makes the box, if the cache lacks it, and returns its path.

    Args:
        public_key: text of the key that `vagrant ssh` comes with at first.

    Raises:
        Failure: naming the log.
    """
    packages = sorted({*image.packages("base"), *image.packages("box")})
    files, config = _files(public_key), _lxc_config()
    recipe = json.dumps([SUITE, packages, files, config, FINISH, host.debian_sources(SUITE)])
    key = f"vagrant-{SUITE}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"
    box, log = naming.CACHE / f"{key}.box", naming.LOGS / f"{key}.log"
    naming.LOGS.mkdir(parents=True, exist_ok=True)
    (naming.CACHE / "uv").mkdir(exist_ok=True)
    with steps.step(f"box {box.name}"), _only_one(key):
        if not box.exists():
            for leftover in naming.CACHE.glob(f"tmp-{key}-*"):
                shutil.rmtree(leftover)
            log.unlink(missing_ok=True)
            _make(box, log, packages, files, config)
    return box


def _make(box, log, packages, files, config):
    work = pathlib.Path(tempfile.mkdtemp(prefix=f"tmp-{box.stem}-", dir=naming.CACHE))
    argv = ["mmdebstrap", "--mode=root", "--variant=apt", f"--include={','.join(packages)}"]
    for options in ("path-exclude=/usr/share/man/*", "path-exclude=/usr/share/locale/*"):
        argv.append(f"--dpkgopt={options}")
    for number, (path, text) in enumerate(files.items()):
        source = work / f"file{number}"
        source.write_text(text)
        argv.append(f"--customize-hook=upload {source} {path}")
    argv += [f"--customize-hook=chroot \"$1\" sh -c '{_quoted(FINISH)}'", SUITE, str(work / "rootfs.tar")]
    sources = "\n".join(host.debian_sources(SUITE))
    steps.run([*argv, "-"] if sources else argv, log, input=sources.encode() if sources else None)
    steps.run(["gzip", "-1", work / "rootfs.tar"], log)
    metadata = {"provider": "lxc", "version": "1.0.0", "template-opts": {"--strip-components": "1"}}
    (work / "metadata.json").write_text(json.dumps(metadata))
    (work / "lxc-config").write_text(config)
    steps.run(["tar", "-C", work, "-cf", work / "box", "metadata.json", "lxc-config", "rootfs.tar.gz"], log)
    (work / "box").rename(box)
    shutil.rmtree(work)


def _quoted(text):
    """Returns a text for between single quotes of a shell."""
    return text.replace("'", "'\\''")


@contextlib.contextmanager
def _only_one(key):
    naming.LOCKS.mkdir(parents=True, exist_ok=True)
    with open(naming.LOCKS / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def public_key():
    """Returns the text of the well-known key of Vagrant, which `vagrant up` replaces.

    Raises:
        Failure: when Debian's package vagrant has none.
    """
    listed = subprocess.run(["dpkg", "-L", "vagrant"], capture_output=True, text=True).stdout.splitlines()
    for path in listed:
        if path.endswith("/keys/vagrant.pub"):
            return pathlib.Path(path).read_text()
    raise steps.Failure("the package vagrant has no keys/vagrant.pub: apt-get install --reinstall vagrant")
