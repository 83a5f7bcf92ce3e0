#!/usr/bin/env python3
"""
A rollout by salt-api, for CI (docs/api.md): begins it, waits for its end, says what came of it. The exit code is 0 only
when every server has the version. Needs nothing but Python 3.

    rollout.py VERSION TARGET [OPTION=VALUE ...]

Environment: SALT_API (https://master:8443), SALT_API_PASSWORD, SALT_API_USER (deploy), SALT_API_CA (a file; the
system's certificates without it).
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request

# Salt answers a call within 5 minutes, or not at all; a rollout may take longer, and is asked for again.
ANSWER, AGAIN = 330, 5


class Refused(Exception):
    """The API said no."""


class Api:
    """salt-api, as one account."""

    def __init__(self, url: str, ca: str | None) -> None:
        self._url, self._token = url.rstrip("/"), ""
        self._context = ssl.create_default_context(cafile=ca)

    def post(self, path: str, **body: object) -> object:
        """What a POST answers. Raises Refused; OSError where there is no answer."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "X-Auth-Token": self._token}
        request = urllib.request.Request(self._url + path, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=ANSWER, context=self._context) as answer:
                return json.load(answer)["return"][0]
        except urllib.error.HTTPError as error:
            if error.code in (500, 502, 503, 504):  # a master that restarts
                raise OSError(f"{self._url} answers {error.code}") from error
            raise Refused(f"{self._url}{path}: {error.code} {error.reason}") from error

    def login(self, user: str, password: str) -> None:
        """Take a token out."""
        answer = self.post("/login", username=user, password=password, eauth="file")
        self._token = str(answer["token"])  # type: ignore[index]

    def runner(self, client: str, function: str, **arguments: object) -> object:
        """What a function of the runner globoapp answers."""
        return self.post("/", client=client, fun=f"globoapp.{function}", kwarg=arguments)


def value(word: str) -> object:
    """An option as JSON, or as the text that it is."""
    try:
        return json.loads(word.lower() if word in ("True", "False") else word)
    except ValueError:
        return word


def main(version: str, target: str, *options: str) -> int:
    """Roll a version out, and return the exit code."""
    api = Api(os.environ["SALT_API"], os.environ.get("SALT_API_CA"))
    api.login(os.environ.get("SALT_API_USER", "deploy"), os.environ["SALT_API_PASSWORD"])
    wanted = dict(option.split("=", 1) for option in options)
    wanted = {name: value(word) for name, word in wanted.items()}
    begun = api.runner("runner_async", "rollout", version=version, target=target, **wanted)
    job = begun["jid"]  # type: ignore[index]
    print(f"job {job}: {version} to {target}", flush=True)
    until = time.monotonic() + 60
    while True:
        try:
            told = api.runner("runner", "watch", rollout=job)
        except OSError as error:
            told = str(error)
        if isinstance(told, dict) and "retcode" in told:
            print(json.dumps(told, indent=2))
            return int(told["retcode"])
        # Before it is stored nobody knows it: after a minute that is the answer.
        if time.monotonic() > until:
            print(told, file=sys.stderr)
            return 1
        time.sleep(AGAIN)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    try:
        sys.exit(main(*sys.argv[1:]))
    except (Refused, OSError, KeyError) as failure:
        sys.exit(f"rollout.py: {failure}")
