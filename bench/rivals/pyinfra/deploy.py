"""The same steps in pyinfra's own operations. Data: version, port, dist, path, status, text."""

from pyinfra import host
from pyinfra.facts.files import File
from pyinfra.operations import files, pip, server, systemd

data, root = host.data, "/opt/comments"
release = f"{root}/releases/{data.version}"

server.user(name="System user", user="comments", system=True, home="/nonexistent", shell="/usr/sbin/nologin")
files.directory(name="Releases", path=f"{root}/releases")

if not host.get_fact(File, f"{release}/api.py"):
    files.put(name="Artifact", src=f"{data.dist}/globoapp-{data.version}.zip", dest=f"{release}.zip")
    server.shell(name="Unpack", commands=[f"unzip -qo {release}.zip -d {release}"])

lock = files.put(
    name="Lock", src=f"{data.dist}/../app/{data.version}/requirements.lock", dest=f"{root}/requirements.lock"
)
pip.venv(name="Virtualenv", path=f"{root}/venv", python="/usr/bin/python3")
pip.packages(
    name="Packages",
    requirements=f"{root}/requirements.lock",
    virtualenv=f"{root}/venv",
    extra_install_args="--no-index --find-links /srv/bench/wheels --require-hashes",
    _if=lock.did_change,
)

current = files.link(name="Current release", path=f"{root}/current", target=release)
conf = files.put(name="Settings of gunicorn", src="../gunicorn.conf.py", dest=f"{root}/gunicorn.conf.py")
unit = files.template(
    name="Unit", src="../comments.service", dest="/etc/systemd/system/comments.service", bind_port=data.port
)
changed = [lock, current, conf, unit]
systemd.daemon_reload(name="Units", _if=unit.did_change)
systemd.service(name="Service", service="comments.service", running=True, enabled=True)
systemd.service(
    name="Restart", service="comments.service", restarted=True, _if=lambda: any(each.did_change() for each in changed)
)

url = f"http://127.0.0.1:{data.port}{data.path}"
server.shell(
    name="Answer",
    commands=[
        f"curl -sS --retry 20 --retry-connrefused --retry-delay 1 -w ' %{{http_code}}' {url} | tr '\\n' ' ' "
        f"| grep -q '{data.text}.* {data.status}'"
    ],
)
