# The health check of a server as a program, for the probes of a pod: healthcheck.py PORT SECONDS asks the release in
# the current directory what its manifest says. A part of images, where nothing else of this package is to be imported.
import http.client
import json
import sys
import uuid
from typing import Any

MOST = 65536  # bytes of an answer's body that are read


def problem(health: Any, port: int, seconds: float) -> str:
    """What is wrong with the answer to the question of a manifest's ``health``; empty when it is as it should be."""
    path = health["path"]
    if path.endswith("globoapp-health-check"):  # it relies on something not being there
        path += f"-{uuid.uuid4().hex}"
    connection = http.client.HTTPConnection("localhost", port, timeout=seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close", **(health.get("headers") or {})})
        answer = connection.getresponse()
        body = answer.read(MOST)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no answer: {type(error).__name__}: {error}"
    finally:
        connection.close()
    if answer.status != health.get("status", 200):
        return f"status {answer.status} instead of {health.get('status', 200)}"
    if not health.get("json"):
        return ""
    try:
        said = json.loads(body)
        wrong = [key for key, value in health["json"].items() if said.get(key) != value]
    except (ValueError, AttributeError, RecursionError):
        return "the body is not a JSON object"
    return f"other values of {', '.join(wrong)} in the body" if wrong else ""


def main(port: str, seconds: str) -> int:
    """The exit code: 0 where the release is well. The kubelet has a limit for all of it."""
    with open("manifest.json", encoding="utf-8") as handle:
        found = problem(json.load(handle)["health"], int(port), float(seconds))
    print(found or "well")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
