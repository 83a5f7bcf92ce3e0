"""One attempt to bring a notification to a webhook, and what its answer means."""

import threading
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

import requests

from globolib.monitor import notice

# Seconds that one attempt may take where pillar says nothing, and the most that it may say.
TIMEOUT, LONGEST = 5, 60
# Seconds that an endpoint may ask to be left alone (Retry-After).
PATIENCE = 300
# The endpoint is at fault, or busy: any other 4xx is about this notification, and would be the answer again.
AGAIN = (408, 425, 429)


@dataclass(frozen=True)
class Attempt:
    """
    What came of an attempt.

    problem
        What went wrong; None where it was delivered.
    final
        Whether another attempt would end the same.
    after
        Seconds that the endpoint asks to be left alone.
    """

    problem: str | None = None
    final: bool = False
    after: int = 0


def timeout_problem(value: Any) -> str | None:
    """What is wrong with ``globoapp:notify:timeout``, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= LONGEST:
        return f"globoapp:notify:timeout is not a number of seconds up to {LONGEST} in its pillar"
    return None


def send(
    webhook: Mapping[str, Any], values: Mapping[str, str], given_up: MutableMapping[str, threading.Thread]
) -> Attempt:
    """
    POST one notification, of which ``values`` are what a template may name. It ends at ``timeout``, however slowly the
    endpoint answers.

    given_up
        By address, the attempts that went on longer: the timeouts of requests count from byte to byte, and no thread
        can be ended. While one goes on there is no other, so that an endpoint which drips never holds more than one.
    """
    url, timeout = webhook["url"], webhook.get("timeout", TIMEOUT)
    if url in given_up and given_up[url].is_alive():
        return Attempt("its last answer still drips")
    outcome: list[Attempt] = []
    thread = threading.Thread(
        target=lambda: outcome.append(_posted(webhook, values, timeout)), name="globoapp-webhook", daemon=True
    )
    thread.start()
    thread.join(timeout)
    if outcome:
        return outcome[0]
    given_up[url] = thread
    return Attempt(f"no whole answer after {timeout:g} s")


def _posted(webhook: Mapping[str, Any], values: Mapping[str, str], timeout: float) -> Attempt:
    body = notice.fill(webhook.get("template") or {"text": "{summary}"}, values)
    # One delivery has one key, so that an endpoint that cares can tell a repetition from another alert.
    key = f"{values['id']}-{values['state']}-{values['time']}"
    headers = {**(webhook.get("headers") or {}), "Idempotency-Key": key}
    try:
        # stream: the status is all that counts, and an endless body is not read.
        with requests.post(
            webhook["url"], json=body, headers=headers, timeout=timeout, stream=True, allow_redirects=False
        ) as answer:
            return _judged(answer.status_code, answer.headers.get("Retry-After", ""))
    except Exception as error:  # requests raises its own, and for settings that are wrong what urllib3 and http do
        return Attempt(type(error).__name__)  # its text holds the address, which is a secret


def _judged(status: int, after: str) -> Attempt:
    if 200 <= status < 300:
        return Attempt()
    final = 400 <= status < 500 and status not in AGAIN
    wait = min(int(after), PATIENCE) if after.isascii() and after.isdecimal() and len(after) < 10 else 0
    return Attempt(f"status {status}", final, wait)
