"""
Runs on a web server, with Salt's own Python: sees a deploy's steps by what they do to the file system, and cuts it
at one of them. `cutter.py MODE POINT`, one JSON document a line on standard output.

MODE
    record: cut nothing, list the points that a deploy passes.
    job: SIGKILL to the process of the state run.
    minion: SIGKILL to all of the minion's processes.
    stop: SIGSTOP to the state run, so that it stays at this point until the power is cut.
POINT
    "<path> <what happened>#<the how manieth time>" as `record` lists them, or "after <seconds>".
"""

import ctypes
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time

import msgpack

JOBS = "/var/cache/salt/minion/proc"
ROOT = "/opt/globoHUB/desafio"
WATCHED = [
    JOBS, "/etc/salt", "/etc/systemd/system", "/etc/systemd/system/multi-user.target.wants",
    "/etc/systemd/system/globoapp@.service.d", "/run", "/run/globoapp", "/run/globoapp-candidate", ROOT,
    f"{ROOT}/virtualenvs", f"{ROOT}/.globoapp",
    *(f"{ROOT}/.globoapp/{name}" for name in ("releases", "artifacts", "candidate", "started")),
]  # fmt: skip
# inotify(7)
CLOSE_WRITE, MOVED_TO, CREATE, DELETE = 0x8, 0x80, 0x100, 0x200
WHAT = {CLOSE_WRITE: "written", MOVED_TO: "renamed to", CREATE: "created", DELETE: "removed"}
# Directories that a deploy makes, one level deep.
GROW = ("/run/globoapp", f"{ROOT}/virtualenvs/", f"{ROOT}/.incoming-")
# What of the watched directories belongs to a deploy, and what differs from run to run in its names.
OURS = re.compile(rf"({ROOT}|/run/globoapp|/etc/systemd/system/.*globoapp|/etc/salt/grains)")
VARIES = re.compile(
    r"(?<=\.write-)\w+|(?<=\.service)\w{8}$|(?<=gunicorn\.conf\.py)\w{8}$|(?<=/tmp)\w{8}$|(?<=wgunicorn-)\w+|(?<=ready-)\d+"
)


class Watch:
    """The events of some directories, in their order."""

    def __init__(self):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.fd = self.libc.inotify_init1(os.O_CLOEXEC)
        self.directories, self.twice = {}, set()
        for path in WATCHED:
            self.add(path)

    def add(self, path):
        """Watches a directory, where it is one."""
        if os.path.isdir(path) and path not in self.directories.values():
            number = self.libc.inotify_add_watch(self.fd, path.encode(), CLOSE_WRITE | MOVED_TO | CREATE | DELETE)
            self.directories[number] = path

    def events(self, timeout):
        """Returns the events [(path, what)] that come within timeout seconds."""
        if not select.select([self.fd], [], [], max(timeout, 0))[0]:
            return []
        data, found = os.read(self.fd, 65536), []
        while data:
            number, mask, _, length = struct.unpack("iIII", data[:16])
            path = f"{self.directories[number]}/{data[16 : 16 + length].rstrip(bytes(1)).decode()}"
            data = data[16 + length :]
            if path in self.twice and mask & CREATE:
                self.twice.discard(path)
                continue
            what = next((word for bit, word in WHAT.items() if mask & bit), None)
            if what:
                found.append((path, what))
            if mask & CREATE and path.startswith(GROW):
                self.add(path)
                # What was put there before the watch was on it; it may come as an event as well.
                found += [(f"{path}/{one}", "created") for one in (os.listdir(path) if os.path.isdir(path) else [])]
                self.twice |= {one for one, _ in found if one.startswith(f"{path}/")}
        return found


def job(path):
    """Returns what the minion notes of a job (dict), when that is a deploy; else None."""
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        try:
            with open(path, "rb") as handle:
                noted = msgpack.unpackb(handle.read(), strict_map_key=False)
            return noted if noted["fun"] == "state.apply" else None
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being written
    return None


def strike(mode, pid):
    """Cuts."""
    if mode == "minion":
        subprocess.run(["systemctl", "kill", "--signal=KILL", "salt-minion"], check=True)
    else:
        os.kill(pid, signal.SIGSTOP if mode == "stop" else signal.SIGKILL)


def main(mode, point):
    """Waits for the next deploy and cuts it; returns when it was cut, or has ended."""
    watch, running, seen, begun, last = Watch(), None, {}, None, "its beginning"
    when = float(point.split()[1]) if point.startswith("after ") else None
    print(json.dumps({"ready": True}), flush=True)
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        wait = begun + when - time.monotonic() if begun and when is not None else 1
        events = watch.events(wait)
        if begun and when is not None and time.monotonic() >= begun + when:
            strike(mode, running["pid"])
            print(json.dumps({"cut": f"{point} s, after {last}", "jid": running["jid"]}), flush=True)
            return
        for path, what in events:
            if path.startswith(JOBS):
                if running is None and what == "created":
                    running = job(path)
                    begun = running and time.monotonic()
                elif running and what == "removed" and path.endswith(running["jid"]):
                    print(json.dumps({"ended": True, "points": list(seen)}), flush=True)
                    return
                continue
            if running is None or not OURS.match(path):
                continue
            label = f"{VARIES.sub('*', path)} {what}"
            number = 1 + sum(1 for one in seen if one.rpartition("#")[0] == label)
            last = f"{label}#{number}"
            seen[last] = time.monotonic() - begun
            if last == point:
                strike(mode, running["pid"])
                print(json.dumps({"cut": last, "jid": running["jid"]}), flush=True)
                return
    print(json.dumps({"ended": False, "points": list(seen)}), flush=True)


main(*sys.argv[1:])
