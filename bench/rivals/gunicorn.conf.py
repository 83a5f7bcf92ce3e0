# gunicorn's settings for all rivals: those that globoapp has.
import json

with open("manifest.json", encoding="utf-8") as handle:
    manifest = json.load(handle)
worker_class = "gthread"
workers, threads = manifest["workers"], manifest["threads"]
keepalive = 0
graceful_timeout = timeout = 30
worker_tmp_dir = "/run/comments"
control_socket_disable = True
