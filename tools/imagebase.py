"""The base of the images: Debian's python3 and the libraries that it needs, by mmdebstrap; no shell, no dpkg."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import checkout
import ocilayout

sys.path.append(str(checkout.ROOT / "lab"))
from fleetlib import host, steps  # noqa: E402

INCLUDE = ("python3",)
# What python3 depends on for its installation only, and what only those need.
LEFT_OUT = ("dpkg", "tar", "libacl1", "libmd0", "libpcre2-8-0", "libselinux1", "readline-common")
MERGED = "/usr/share/mmdebstrap/hooks/merged-usr"
# Not wanted where nobody logs in; licences stay.
NOT_WANTED = (
    *(f"usr/share/{name}" for name in ("man", "info", "locale", "lintian", "bug", "doc-base", "applications")),
    *(f"usr/share/{name}" for name in ("binfmts", "pixmaps", "polkit-1", "readline", "dpkg")),
    *(f"etc/{name}" for name in ("alternatives", "apt", "cron.daily", "dpkg", "fstab", "hostname", "logrotate.d")),
    *("etc/resolv.conf", "etc/rmt", "var", "dev", "tmp"),
)
ACCOUNTS = "root:x:0:0:root:/:/usr/sbin/nologin\ngloboapp:x:{0}:{0}::/nonexistent:/usr/sbin/nologin\n"
FILES = {
    "etc/group": "root:x:0:\ngloboapp:x:{0}:\n",
    "etc/passwd": ACCOUNTS,
    # Without it names are asked of DNS before /etc/hosts.
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
# As the packages' own scripts would do, but so that it is the same each time and needs no time of the source.
COMPILE = ["/usr/bin/python3", "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"]
SAME = {
    "PATH": "/usr/sbin:/usr/bin",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": str(ocilayout.SECONDS),
    "LANG": "C.UTF-8",
}


def unfit():
    """Returns why no image can be made here (str), or None where it can."""
    if os.geteuid() != 0:
        return "an image is made as root: mmdebstrap and chroot need it"
    if not shutil.which("mmdebstrap") and not shutil.which("apt-get"):
        return "there is no mmdebstrap, and no apt-get to install it with"
    return None


def make(target, suite, account):
    """Makes the base of a suite of Debian (str) in target (Path): root/, layer.tar.gz and base.json.

    account is the uid and gid of the app. Complete or not at all. Raises fleetlib.steps.Failure.
    """
    host.install(host.missing({"mmdebstrap": "mmdebstrap"}))
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        _fill(work, suite, account)
        work.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(work, suite, account):
    root, log = work / "root", work / "log"
    sources = "\n".join(host.debian_sources(suite))
    command = ["mmdebstrap", "--mode=root", "--variant=extract", "--skip=cleanup/apt", f"--hook-dir={MERGED}",
               f"--include={','.join(INCLUDE)}", suite, str(root)]  # fmt: skip
    steps.run(command + (["-"] if sources else []), log, input=sources.encode() if sources else None)
    packages = [_package(path) for path in sorted((root / "var/cache/apt/archives").glob("*.deb"))]
    for path, package in packages:
        if package["name"] in LEFT_OUT:
            _take_out(root, path)
    kept = [package for _, package in packages if package["name"] not in LEFT_OUT]
    for name in NOT_WANTED:
        _remove(root / name)
    for directory in root.glob("usr/share/doc/*"):
        for path in directory.iterdir():
            if path.name != "copyright":
                _remove(path)
    for name, text in FILES.items():
        (root / name).write_text(text.format(account))
    for name, mode in {"tmp": 0o1777, "dev": 0o755, "proc": 0o755, "sys": 0o755, "run": 0o755, "var": 0o755}.items():
        (root / name).mkdir()
        (root / name).chmod(mode)
    steps.run(["chroot", root, *COMPILE, "/usr/lib/python3", *_libraries(root)], log, env=SAME)
    made = ocilayout.layer(root, sorted(os.listdir(root)))
    (work / "layer.tar.gz").write_bytes(made.content)
    described = {"suite": suite, "digest": made.digest, "diff_id": made.diff_id, "packages": kept}
    (work / "base.json").write_text(json.dumps(described, indent=1) + "\n")
    log.unlink()


def _libraries(root):
    return [f"/usr/lib/{path.name}" for path in root.glob("usr/lib/python3.*")]


def _package(path):
    """Returns (path, {"name", "version", "architecture", "sha256"}) of a package's file (Path)."""
    fields = ["${Package}", "${Version}", "${Architecture}"]
    query = ["dpkg-deb", "--showformat", "\\n".join(fields), "--show", str(path)]
    name, version, architecture = subprocess.run(query, check=True, capture_output=True, text=True).stdout.split("\n")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return path, {"name": name, "version": version, "architecture": architecture, "sha256": sha256}


def _take_out(root, path):
    """Removes what a package (Path of its file) has put below root (Path), and the directories that it alone had."""
    listed = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(path)], check=True, capture_output=True).stdout
    names = subprocess.run(["tar", "-t"], input=listed, check=True, capture_output=True).stdout.decode().splitlines()
    for name in sorted(names, reverse=True):
        there = root / name.removeprefix("./")
        if not name.endswith("/"):
            there.unlink(missing_ok=True)
        elif there != root and there.is_dir() and not there.is_symlink() and not any(there.iterdir()):
            there.rmdir()


def _remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
