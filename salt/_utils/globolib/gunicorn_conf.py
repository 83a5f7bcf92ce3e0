# gunicorn's settings for every release: what differs between releases is in their manifest.
# Managed by Salt. Read by gunicorn at start, from the release's directory.
import contextlib
import json
import os
from typing import Any

with open("manifest.json", encoding="utf-8") as handle:
    manifest = json.load(handle)

_runtime = os.environ["RUNTIME_DIRECTORY"]

worker_class = "gthread"
workers = manifest.get("workers", 1)
threads = manifest.get("threads", 4)
# A keep-alive client of a worker that ends loses its next request: gunicorn closes after each answer.
keepalive = 0
graceful_timeout = 30
timeout = 30
errorlog = "-"
# gunicorn 25 and later open a command socket in the home directory, one path for all instances; 20.0.4 ignores this.
control_socket_disable = True
worker_tmp_dir = _runtime


def post_worker_init(worker: Any) -> None:
    """The worker has loaded the app: say so where the deploy looks (READY=1 is sent long before)."""
    with open(f"{_runtime}/ready-{worker.pid}", "w", encoding="ascii"):
        pass


def child_exit(server: Any, worker: Any) -> None:
    """A worker has ended: it is not ready any more."""
    with contextlib.suppress(FileNotFoundError):  # it ended before it had loaded the app
        os.unlink(f"{_runtime}/ready-{worker.pid}")
