"""Cuts a deploy on a web server at one of its steps, from outside; or takes the server's power."""

import json
import subprocess
import threading

from machines import CHECKOUT

CUTTER = (CHECKOUT / "tests/fleet/cutter.py").read_text()

_lab = threading.Lock()  # lab/fleet cut and boot are for one at a time


class Cutter:
    """cutter.py on a web server, from when it watches until it has cut."""

    def __init__(self, web, mode, point):
        self.web, self.mode = web, mode
        command = ["lab/fleet", "exec", web.name, "--", "/opt/salt/bin/python", "-c", CUTTER, mode, point]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=web.fleet.env, stdin=subprocess.DEVNULL
        )
        assert json.loads(self.process.stdout.readline()) == {"ready": True}

    def result(self):
        """Returns the cutter's last words (dict), when it has cut or the deploy has ended."""
        line = self.process.stdout.readline()
        self.process.stdout.close()
        self.process.wait()
        return json.loads(line)


def power_cut(web):
    """Takes the power and boots again."""
    with _lab:
        web.fleet.cut(web.name)
        web.fleet.boot(web.name)
