"""The machine that carries the lab: whether it can, what it misses, its cgroups, its package sources."""

import configparser
import importlib.util
import ipaddress
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sysconfig

from . import naming, steps

# command -> Debian package that has it
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
}
NO_MACHINES = 3
# What tests of images and pods need: podman in the form that works without a booted systemd.
CONTAINER_TOOLS = {
    "podman": "podman",
    "runc": "runc",
    "catatonit": "catatonit",
    "skopeo": "skopeo",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}


def obstacle():
    """Returns why machines cannot be booted here as one line (str), or None where they can."""
    if platform.system() != "Linux":
        return f"this is {platform.system()}, not Linux"
    if os.geteuid() != 0:
        return f"not root (uid {os.geteuid()})"
    if not cgroup_mounts():
        return "no cgroup hierarchy that systemd could use is mounted in /sys/fs/cgroup"
    unwritable = [str(mount) for mount in cgroup_mounts() if not os.access(mount, os.W_OK)]
    if unwritable:
        return f"{unwritable[0]} is read-only"
    if not _has_overlay():
        return "the kernel has no overlay file system"
    absent = [tool for tool in TOOLS if not shutil.which(tool)]
    if absent and not shutil.which("apt-get"):
        return f"{', '.join(absent)} missing, and no apt-get to install it with"
    for kind in ("mount", "pid", "net", "user"):
        # The kernel refuses "user", which the service's sandbox needs, to whoever is in a chroot.
        if subprocess.run(["unshare", f"--{kind}", "--fork", "true"], capture_output=True).returncode:
            return f"no permission for a {kind} namespace of our own (a chroot, or a container without privileges?)"
    return None


def _has_overlay():
    def listed():
        return "\toverlay\n" in pathlib.Path("/proc/filesystems").read_text()

    if not listed() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "overlay"], capture_output=True)
    return listed()


def install_tools():
    """Installs by apt what is missing of TOOLS.

    Raises:
        Failure: when apt fails.
    """
    install(missing(TOOLS))


def missing(tools):
    """Returns the Debian packages (set) of tools (dict of program to package) that are not there."""
    return {package for tool, package in tools.items() if not shutil.which(tool)}


def install_containers():
    """Installs by apt what is missing of CONTAINER_TOOLS.

    Returns:
        Why there are none (str): not root, no apt, apt failed; None where all are there.
    """
    wanted = missing(CONTAINER_TOOLS)
    if os.geteuid() != 0:
        return f"not root (uid {os.geteuid()})"
    if wanted and not shutil.which("apt-get"):
        return f"{', '.join(sorted(wanted))} missing, and no apt-get to install it with"
    try:
        install(wanted)
    except steps.Failure as failure:
        return str(failure)
    return None


def install_python(compiler):
    """Installs by apt what a virtualenv needs of this machine.

    Args:
        compiler: whether something will be compiled there: Salt needs timelib, which has no wheels.

    Where we are not root, or there is no apt, nothing happens: the virtualenv's own failure will tell.
    """
    missing = set()
    if importlib.util.find_spec("ensurepip") is None:
        missing.add("python3-venv")
    if compiler and not shutil.which("gcc"):
        missing |= {"gcc", "libc6-dev"}
    if compiler and not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
        missing.add("python3-dev")
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install(missing)


def install(packages):
    """Installs Debian packages by apt; an empty set costs nothing.

    Raises:
        Failure: when apt fails.
    """
    if not packages:
        return
    with steps.step(f"installing {', '.join(sorted(packages))}"):
        naming.LOGS.mkdir(parents=True, exist_ok=True)
        log = naming.LOGS / "apt.log"
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        apt = ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=120"]
        steps.run([*apt, "update"], log, env=env)
        steps.run([*apt, "install", "-y", "--no-install-recommends", *sorted(packages)], log, env=env)


def cgroup_mounts(mountinfo=None):
    """Returns the mount points (list of Path) of the hierarchies that systemd keeps its units in.

    That is name=systemd (version 1), the unified one (version 2), or both (hybrid).
    """
    text = pathlib.Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    found = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            found.append(pathlib.Path(left.split()[4]))
    return found


def networks():
    """Returns the networks (list of ip_network, version 4) that this machine has an address in or a route to."""
    found = []
    routes = json.loads(steps.run(["ip", "-j", "-4", "route"]).stdout)
    found += [ipaddress.ip_network(route["dst"]) for route in routes if route["dst"] != "default"]
    for link in json.loads(steps.run(["ip", "-j", "-4", "addr"]).stdout):
        for info in link.get("addr_info", []):
            found.append(ipaddress.ip_network(f"{info['local']}/{info['prefixlen']}", strict=False))
    return found


def debian_sources(suite):
    """Returns lines for sources.list (list of str) for a suite, on the mirrors that this machine uses.

    Empty where this machine uses no Debian mirror; mmdebstrap then takes its own default.
    """
    if not shutil.which("apt-get"):
        return []
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)|$(ORIGIN)|$(LABEL)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    mirrors = {}
    for target in targets:
        uri, origin, label = target.split("|")
        if origin == "Debian" and uri.startswith("http"):
            mirrors.setdefault(label, uri)
    lines = []
    if "Debian" in mirrors:
        lines += [f"deb {mirrors['Debian']} {name} main" for name in (suite, f"{suite}-updates")]
        if "Debian-Security" in mirrors:
            lines.append(f"deb {mirrors['Debian-Security']} {suite}-security main")
    return lines


def pip_environment(environ=None, files=None):
    """Returns this machine's pip settings as environment variables for pip and for uv, which reads none of pip's.

    Args:
        environ: mapping instead of os.environ.
        files: paths of pip.conf files, the strongest last, instead of the standard ones.

    Returns:
        dict of variables: index, extra indexes, find-links, certificates, proxies.
    """
    environ = os.environ if environ is None else environ
    if files is None:
        home = pathlib.Path(environ.get("HOME", "/root"))
        files = ["/etc/pip.conf", home / ".pip/pip.conf", home / ".config/pip/pip.conf"]
        if environ.get("PIP_CONFIG_FILE"):
            files.append(environ["PIP_CONFIG_FILE"])
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read(files)
    settings = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings.update(parser.items(section))
    for key in ("index-url", "extra-index-url", "find-links", "cert"):
        settings[key] = environ.get("PIP_" + key.upper().replace("-", "_"), settings.get(key))

    result = {}
    names = {
        "index-url": ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        "extra-index-url": ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL"),
        "find-links": ("PIP_FIND_LINKS", "UV_FIND_LINKS"),
        "cert": ("PIP_CERT", "SSL_CERT_FILE"),
    }
    for key, (pip_name, uv_name) in names.items():
        if settings[key]:
            value = " ".join(settings[key].split())
            result[pip_name] = value
            result[uv_name] = value.replace(" ", ",") if key == "find-links" else value
    for key, value in environ.items():
        if key.lower() in ("http_proxy", "https_proxy", "no_proxy") or key in ("SSL_CERT_FILE", "PIP_DEFAULT_TIMEOUT"):
            result.setdefault(key, value)
    result["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    result["UV_LINK_MODE"] = "copy"
    return result


def named_paths(environ):
    """Returns the paths of this machine (list of str) that pip settings name, to be shown to a build in a chroot."""
    found = set()
    for key in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "SSL_CERT_FILE", "PIP_CERT"):
        for word in environ.get(key, "").split():
            path = word.removeprefix("file://").rstrip("/")
            if path.endswith("/simple"):
                path = os.path.dirname(path)  # the pages of a simple index point to files beside it
            if path.startswith("/") and os.path.exists(path):
                found.add(path)
    return sorted(found)
