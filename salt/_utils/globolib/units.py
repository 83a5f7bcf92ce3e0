"""
The texts of an app's unit files, of gunicorn's settings and of a release's environment: pure functions.

``<name>@PACKX_Y.service``
    a release; Sockets= hands it the listening socket that systemd holds.
``<name>-<address>:<port>.socket``, ``<name>-unix:run:<path with : for />.socket``
    the listening socket. It outlives every release.
``<name>-candidate@PACKX_Y.service``
    the same release on a private unix socket, to be tried before it may serve.
``<name>-standin@PACKX_Y.service``
    the same release once more: it takes requests while the release that serves starts afresh.
``<name>-command@PACKX_Y-<id>.service``
    a program that is run with the release's code and then ends: a transient unit.
``<name>-<process>@PACKX_Y.service``
    a background process of the release: it runs, stops and starts with it.
``<name>-activate.service``
    what a socket starts when a client comes and no release runs.
"""

import os
import re
from collections.abc import Iterable

from globolib import background, connect, files, limits, serving
from globolib.errors import Failure
from globolib.layout import CANDIDATE, COMMAND, LIVE, STANDIN
from globolib.settings import Settings

WRITTEN = "# Written by Salt (globoapp): the next deploy puts it back."

_RELEASE = """\
# Managed by Salt (globoapp). %i is a release: PACKX_Y.
[Unit]
Description={name} %i ({description})
After=network.target
{related}{limit}
[Service]
{kind}{identity}WorkingDirectory={root}/%i
EnvironmentFile={environment}
Environment=PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RuntimeDirectory={runtime}
ExecStart={command}
KillMode=mixed
TimeoutStartSec=60
TimeoutStopSec={stop}
{restart}{limits}UMask={umask}

# What the service may do: read its release, write its StateDirectory, take connections from the
# socket that systemd hands it. {network}CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
PrivateUsers=yes
PrivateDevices=yes
DevicePolicy=closed
PrivateTmp=yes
PrivateIPC=yes
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# gunicorn's workers give their heartbeat file away and set their own uid, though both are right
# already: without these they would boot for ever, while systemd says active.
SystemCallFilter=@chown setuid
{install}"""

_IDENTITY = """\
User={user}
{group}StateDirectory={name}
StateDirectoryMode={state_mode}
"""

_CANDIDATE_IDENTITY = """\
# An account of its own for as long as it runs, and its private /tmp as its state: before it has passed its trial it can
# neither signal the release that serves nor touch what that one keeps.
DynamicUser=yes
{group}Environment=STATE_DIRECTORY=/tmp
"""

_RESTART = """\
Restart=always
RestartSec=250ms
# The kernel ends the worker that takes too much memory, and gunicorn starts another: the rest goes on.
OOMPolicy=continue
"""

_NO_RESTART = """\
# A candidate that ends has failed, and must not disturb what serves.
Restart=no
CPUWeight=20
Nice=10
# Nobody waits for its answers, and one that hangs would hold up the deploy for as long as it may take to stop.
KillSignal=SIGKILL
"""

_NOTIFIES = "Type=notify\nNotifyAccess=main\n"

_BACKGROUND = """\
Restart=always
RestartSec=2s
OOMPolicy=continue
"""

_STANDIN = """\
# It serves for the second or two in which the release starts afresh; of two addresses on the one that stays.
Sockets={socket}
Restart=no
OOMPolicy=continue
"""

# What no drop-in of a site may change of a role.
_CANDIDATE_LAST = """\
[Service]
User=
Group=
DynamicUser=yes
# systemd would give them to the account of the candidate, whatever is in them.
StateDirectory=
CacheDirectory=
LogsDirectory=
ConfigurationDirectory=
Environment=STATE_DIRECTORY=/tmp
Restart=no
KillSignal=SIGKILL
"""
_LAST = {
    CANDIDATE: _CANDIDATE_LAST,
    STANDIN: "[Service]\nRestart=no\n",
    COMMAND: "[Service]\nType=exec\nRestart=no\n",
}
_BACKGROUND_LAST = "[Service]\nType=exec\nRestart=always\n"
# Seconds that a command has to end in order, before systemd kills it.
COMMAND_STOP = 10
# What the unit that serves has, and a command, which ends by itself, has not.
_OF_A_SERVICE = (
    *("Type", "NotifyAccess", "ExecStart", "EnvironmentFile", "RuntimeDirectory", "TimeoutStartSec", "TimeoutStopSec"),
    *("Restart", "RestartSec", "OOMPolicy"),
)

_INSTALL = """
[Install]
WantedBy=multi-user.target
"""

_ACTIVATE = """\
# Managed by Salt (globoapp). What a socket of {name} starts when a client comes and no release
# runs: the release that starts at boot.
[Unit]
Description={name}: start the deployed release
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=-/bin/sh -c 'cd {wants} && exec systemctl start --no-block {instances}'
# Where that release cannot start (masked, say), a waiting client would have this run in a tight loop.
ExecStartPost=/bin/sleep 1
"""

_SOCKET = """\
{written}
[Unit]
Description={name} on {listen}

[Socket]
ListenStream={listen}
{options}Backlog=4096
Service={activate}
# A release that cannot start must not take the socket down with it.
TriggerLimitIntervalSec=0
"""

_OF_TCP = """\
# With the service's own descriptor still open, a new socket may take the same port.
ReusePort=yes
# A client that connects and says nothing is not handed to the app: until it speaks it takes the kernel's memory only.
DeferAcceptSec=60
# At boot the socket may come before its address.
FreeBind=yes
"""
_OF_UNIX = """\
# Who may connect: the app's account, and the group of its clients.
SocketUser={user}
{group}SocketMode=0660
RemoveOnStop=yes
"""


def release_unit(settings: Settings, role: str = LIVE, processes: Iterable[str] = ()) -> str:
    """
    The template of the instances in a role.

    processes
        The names of the background processes that start with an instance, where it is LIVE. Each has a file, or does
        not start.
    """
    layout, candidate = settings.layout, role == CANDIDATE
    gunicorn = layout.candidate_gunicorn_conf if candidate else layout.gunicorn_conf
    bind = f"--bind unix:{layout.candidate_socket('%i')} " if candidate else ""
    standin = _STANDIN.format(socket=layout.socket(settings.listen))
    what = {CANDIDATE: ", candidate on a private socket", STANDIN: ", during its restart"}.get(role, "")
    return _service(
        settings,
        role,
        kind=_NOTIFIES,
        description=f"gunicorn{what}",
        related="".join(f"Wants={layout.process('%i', process)}\n" for process in processes),
        command=f"{layout.release('%i')}/.venv/bin/gunicorn --config {gunicorn} {bind}${{WSGI_TARGET}}",
        restart={CANDIDATE: _NO_RESTART, STANDIN: standin}.get(role, _RESTART),
        install=_INSTALL if role == LIVE else "",
    )


def process_unit(settings: Settings, process: str, words: Iterable[str]) -> str:
    """
    The unit of a background process of a release: what the release serves with but for its command. It stops and
    starts again with the release.
    """
    layout = settings.layout
    return _service(
        settings,
        f"-{process}",
        kind=f"Type=exec\nEnvironment={_path(layout.release('%i'))}\n",
        description=process,
        related=f"PartOf={layout.instance('%i')}\n",
        command=f"/usr/bin/env -- {' '.join(map(background.quoted, words))}",
        restart=_BACKGROUND,
        install="",
    )


def _path(directory: str) -> str:
    """PATH with the programs of a release's virtualenv before the system's."""
    return f"PATH={directory}/.venv/bin:/usr/local/bin:/usr/bin:/bin"


def _service(settings: Settings, role: str, **more: str) -> str:
    """The unit of a program of a release in a role."""
    layout, candidate = settings.layout, role == CANDIDATE
    return _RELEASE.format(
        name=settings.name,
        identity=(_CANDIDATE_IDENTITY if candidate else _IDENTITY).format(
            user=settings.user,
            name=settings.name,
            group=_group_line(settings, role),
            state_mode=serving.state_mode(settings.umask),
        ),
        stop=settings.graceful_timeout + serving.STOP_MARGIN,
        umask=settings.umask,
        limits=limits.lines(vars(settings)),
        network=connect.lines(settings.connect),
        root=layout.root,
        environment=layout.candidate_environment("%i") if candidate else layout.environment("%i"),
        limit="" if candidate else "StartLimitIntervalSec=0\n",
        runtime=os.path.relpath(layout.runtime("%i", role), layout.run),
        **more,
    )


def is_ours(text: str) -> bool:
    """Whether this tree has written a unit file, by its text; one that is masked, or empty, holds nothing of others."""
    return not text.strip() or text.startswith("# Managed by Salt (globoapp).")


def role_text(role: str) -> str:
    """The last drop-in of a role other than LIVE; of a background process's, too."""
    return f"{WRITTEN}\n{_LAST.get(role, _BACKGROUND_LAST)}"


def command_properties(settings: Settings, environment: str, seconds: float) -> list[str]:
    """
    What a command is run with, as systemd-run takes it: the account, the directories, the sandbox and the limits of the
    unit that serves, and the release's virtualenv first in PATH.

    environment
        The path of the environment file.
    seconds
        Its time.
    """
    service = release_unit(settings).partition("[Service]\n")[2].partition("[Install]")[0]
    lines = [line for line in service.replace("%i", settings.release).splitlines() if re.match("[A-Z]", line)]
    return [
        *(line for line in lines if line.partition("=")[0] not in _OF_A_SERVICE),
        f"EnvironmentFile={environment}",
        f"Environment={_path(settings.layout.release(settings.release))}",
        "Type=exec",
        f"RuntimeMaxSec={seconds}",
        f"TimeoutStopSec={COMMAND_STOP}",
    ]


def _group_line(settings: Settings, role: str) -> str:
    """What gives a release the group of the settings, and its candidate what that group may read."""
    if not settings.group:
        return ""
    return f"{'SupplementaryGroups' if role == CANDIDATE else 'Group'}={settings.group}\n"


def activate_unit(settings: Settings) -> str:
    """What a socket starts when a client comes and no release runs."""
    layout = settings.layout
    return _ACTIVATE.format(name=settings.name, wants=layout.wants, instances=layout.instance("*"))


def socket_unit(settings: Settings) -> str:
    """The socket of an address."""
    layout, group, address = settings.layout, socket_group(settings), settings.listen
    owned = _OF_UNIX.format(user=settings.user, group=f"SocketGroup={group}\n" if group else "")
    options, listen = owned if address.path else _OF_TCP, address.listen
    return _SOCKET.format(written=WRITTEN, name=layout.name, listen=listen, options=options, activate=layout.activate)


def socket_group(settings: Settings) -> str:
    """The group that may connect to a unix socket: Debian's of nginx with a proxy; empty for the account's own."""
    return "www-data" if settings.front else settings.group


def handed_text(sockets: Iterable[str]) -> str:
    """The drop-in that names the socket units which instances get from their next start on."""
    return f"{WRITTEN}\n[Service]\n" + "".join(f"Sockets={unit}\n" for unit in sockets)


def environment_text(settings: Settings, wsgi: str) -> str:
    """
    What systemd hands to a release's processes: pillar's ``environment`` and the WSGI target, quoted as systemd.exec(5)
    reads an EnvironmentFile=: in double quotes the end of a line is a character like others. It may hold secrets: the
    file is for root alone.
    """
    lines = []
    for name, value in sorted({**settings.environment, "WSGI_TARGET": wsgi}.items()):
        escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("`", "\\`")
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def gunicorn_text() -> str:
    """gunicorn's settings for every release. Raises Failure: this copy of the package is not complete."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gunicorn_conf.py")
    written = files.read(path)
    if written is None:
        raise Failure(f"{path} is missing: synchronise Salt's custom modules again (saltutil.sync_utils)")
    return written


def gunicorn_settings(settings: Settings, role: str = LIVE) -> str:
    """What pillar says of gunicorn, as gunicorn.conf.py reads it. The workers of a candidate have to stay."""
    stay = role == CANDIDATE
    return serving.file_text(
        {
            "workers": settings.worker_count,
            "threads": settings.threads,
            "timeout": settings.worker_timeout,
            "graceful_timeout": settings.graceful_timeout,
            "max_requests": 0 if stay else settings.max_requests,
            "max_requests_jitter": 0 if stay else settings.max_requests_jitter,
            "access_log": settings.access_log,
        }
    )


def unit_files(settings: Settings, processes: Iterable[str] = ()) -> dict[str, str]:
    """
    The text of each file that the units which serve and their gunicorn read and that does not depend on the address,
    by path: the template, what sockets start, gunicorn's settings.

    processes
        The names of the release's background processes.
    """
    layout = settings.layout
    return {
        layout.unit_file(layout.instance("")): release_unit(settings, LIVE, processes),
        layout.unit_file(layout.activate): activate_unit(settings),
        layout.gunicorn_conf: gunicorn_text(),
        layout.gunicorn_settings: gunicorn_settings(settings),
    }


def candidate_files(settings: Settings, wsgi: str) -> dict[str, str]:
    """The same for a candidate of the release, with its environment."""
    layout = settings.layout
    return {
        layout.unit_file(layout.instance("", CANDIDATE)): release_unit(settings, CANDIDATE),
        layout.candidate_gunicorn_conf: gunicorn_text(),
        layout.candidate_gunicorn_settings: gunicorn_settings(settings, CANDIDATE),
        layout.candidate_environment(settings.release): environment_text(settings, wsgi),
    }
