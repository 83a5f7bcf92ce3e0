"""
The sockets of an app: systemd holds them, they outlive every release, and instances get those that
``Sockets=`` in a drop-in names.
"""

import os

UNITS = "/etc/systemd/system"


def __virtual__():
    return "globoapp_socket"


def unit(name, address, port):
    """
    The socket unit of an address.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.unit globoapp 0.0.0.0 8000
    """
    return f"{name}-{address}:{port}.socket"


def found(name):
    """
    The socket units of an app that have a file or are loaded: ``{unit: "active" or "inactive" ...}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.found globoapp
    """
    loaded = __salt__["globoapp_systemd.show"](f"{name}-*:*.socket")
    units = {one: state["ActiveState"] for one, state in loaded.items()}
    for one in os.listdir(UNITS):
        if one.startswith(f"{name}-") and ":" in one and one.endswith(".socket"):
            units.setdefault(one, "inactive")
    return units


def _text(name, address, port):
    listen = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return f"""# Written by Salt (globoapp): the next deploy puts it back.
[Unit]
Description={name} on {listen}

[Socket]
ListenStream={listen}
# With the service's own descriptor still open, a new socket may take the same port.
ReusePort=yes
# At boot the socket may come before its address.
FreeBind=yes
Backlog=4096
Service={name}-activate.service
# A release that cannot start must not take the socket down with it.
TriggerLimitIntervalSec=0
"""


def written(name, address, port):
    """
    Whether the socket unit of an address is on the disk as :func:`write` wrote it.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.written globoapp 0.0.0.0 8000
    """
    return __utils__["globoapp_files.read"](f"{UNITS}/{unit(name, address, port)}") == _text(name, address, port)


def write(name, address, port):
    """
    Put the socket unit of an address in place, not started.

    Returns True when the file changed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.write globoapp 0.0.0.0 8000
    """
    return _write(f"{UNITS}/{unit(name, address, port)}", _text(name, address, port))


def remove(socket):
    """
    Close a socket and remove its unit.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.remove globoapp-0.0.0.0:8001.socket
    """
    __salt__["globoapp_systemd.stop"](socket)
    path = f"{UNITS}/{socket}"
    if os.path.lexists(path):
        os.unlink(path)
        __utils__["globoapp_files.sync_directory"](UNITS)
        __salt__["globoapp_systemd.systemctl"]("daemon-reload")


def hand_over(name, sockets):
    """
    Name the sockets that instances get from their next start on.

    sockets
        The socket units, the one to stay first.

    Returns True when that changed.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.hand_over globoapp '["globoapp-0.0.0.0:8000.socket"]'
    """
    directory = f"{UNITS}/{name}@.service.d"
    if not os.path.isdir(directory):
        os.makedirs(directory, 0o755)
        __utils__["globoapp_files.sync_directory"](UNITS)
    text = "# Written by Salt (globoapp): the next deploy puts it back.\n[Service]\n"
    return _write(f"{directory}/sockets.conf", text + "".join(f"Sockets={one}\n" for one in sockets))


def handed(name):
    """
    The socket units that instances get from their next start on, as :func:`hand_over` named them.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_socket.handed globoapp
    """
    lines = (__utils__["globoapp_files.read"](f"{UNITS}/{name}@.service.d/sockets.conf") or "").splitlines()
    return [line.strip()[len("Sockets=") :] for line in lines if line.startswith("Sockets=")]


def _write(path, text):
    if __utils__["globoapp_files.read"](path) == text:
        return False
    __utils__["globoapp_files.write"](path, text)
    return True
