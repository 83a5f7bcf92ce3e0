"""Ports of this machine for what tests start."""

import socket


def free_port():
    """Returns a TCP port (int) of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
