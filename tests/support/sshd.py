"""sshd on a web server of the lab, which has none: for what comes by ssh."""

import subprocess

import debs

PACKAGES = (
    *("openssh-server", "openssh-client", "openssh-sftp-server", "runit-helper", "sensible-utils", "ucf"),
    *("libcbor0.8", "libedit2", "libfido2-1", "libwrap0"),
)
INSTALL = "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends openssh-server"
# Also what a run that was killed has left half installed.
PURGE = f"""
systemctl stop ssh 2>/dev/null
dpkg --purge --force-all {" ".join(PACKAGES)}
rm -rf /etc/ssh /root/.ssh /var/tmp/.root_*_salt
"""


def install(server, directory, *more):
    """Installs sshd, and more packages of Debian, on a server (Server); its apt offers nothing else afterwards.

    The key that root may come with is made in directory (Path) as `key`, with the server's own in `known_hosts`.
    """
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / "key")], check=True)
    server.sh(PURGE, check=False)
    debs.offer(server, *more, *PACKAGES)
    server.sh(" ".join([INSTALL, *more]))
    key = (directory / "key.pub").read_text()
    server.sh(f"install -d -m 700 /root/.ssh; echo '{key}' > /root/.ssh/authorized_keys")
    host_key = server.sh("cat /etc/ssh/ssh_host_ed25519_key.pub")
    (directory / "known_hosts").write_text(f"{server.address} {host_key}\n")


def remove(server):
    """Takes sshd away again, and gives apt its own sources back."""
    server.sh(PURGE, check=False)
    debs.take_away(server)
