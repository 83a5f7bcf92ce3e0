"""What a rollout says: a line for each server, a table where a terminal can be redrawn, and what to type next."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from globolib import apps, ledger
from globolib.rollout import state as words
from globolib.rollout.state import Rollout, Server

# What of a server's reason is shown, in lines.
REASON = 12
# States that are worth a line of their own.
TOLD = frozenset(
    {
        *(words.DONE, words.HAD, words.SILENT, words.SKIPPED, words.REFUSED, words.FAILED, words.LOST),
        *(words.UNCLEAR, words.REVERTED, words.NOT_REVERTED, words.NOT_BACK),
    }
)


def line(name: str, server: Server, version: str) -> str:
    """``web1 1.0 -> 1.1 ok 9.5 s, 276 requests, 0 failed``; of one that failed the reason, and what its log said."""
    if server.state == words.HAD:
        return f"{name} {version} had it"
    move = f"{name} {server.before or '-'} -> {version}"
    if server.state == words.REVERTED:
        return f"{name} {version} -> {server.before} reverted" + (f"; {server.why}" if server.why else "")
    if server.state == words.DONE:
        told = ledger.told({**server.line, "from": server.before, "version": version, "result": ledger.SUCCESS})
        return f"{name} {told}" + (f"; {server.note}" if server.note else "")
    reason = server.why.splitlines()[: REASON + 1]
    return "\n    ".join([f"{move} {server.state}: {reason[0] if reason else ''}".rstrip(": "), *reason[1:]])


def _typed(function: str, rollout: Rollout) -> str:
    return f"salt-run globoapp.{function} {rollout.id}"


def next_steps(rollout: Rollout) -> list[str]:
    """What a person can type now, each a line."""
    steps = []
    if rollout.phase in words.RESUMABLE:
        steps.append(f"{_typed('resume', rollout)}    # go on; who has {rollout.version} is skipped")
    back = [
        name
        for name in rollout.names(words.DONE, words.REVERTING, words.NOT_REVERTED, words.NOT_BACK)
        if rollout.servers[name].before
    ]
    if rollout.phase in words.ENDED and back:
        told = f"    # back to what they had: {', '.join(back[:5])}{' ...' if len(back) > 5 else ''}"
        steps.append(_typed("revert", rollout) + told)
    lost = rollout.names(words.LOST, words.UNCLEAR)
    if lost:
        # A list for salt -L has commas, and no spaces.
        steps.append(f"salt -L {','.join(lost)} globoapp.status    # what became of them")
    for name in rollout.out:
        balancer, minions = rollout.servers[name].balancer, ",".join(rollout.servers[name].balancers)
        ready = f"globoapp_balancer.ready {balancer['backend']} {balancer['server']}"
        steps.append(f"salt -L {minions} {ready}    # {name} may get no requests")
    return steps


def summary(rollout: Rollout) -> dict[str, Any]:
    """A rollout as it is answered: counts, who has not got it, and what to type."""
    counted = Counter(server.state for server in rollout.servers.values())
    missing = {}
    for name in rollout.missing:
        server = rollout.servers[name]
        missing[name] = f"{server.state}: {server.reason}" if server.why else server.state
    answer: dict[str, Any] = {
        "rollout": rollout.id,
        **apps.about(rollout.app),
        "version": rollout.version,
        "phase": rollout.phase,
        "why": rollout.why,
    }
    answer |= {"servers": dict(sorted(counted.items())), **({"without it": missing} if missing else {})}
    steps = next_steps(rollout)
    return {**answer, **({"to type": steps} if steps else {})}


def changes(before: Rollout, after: Rollout) -> Iterator[tuple[str, Server]]:
    """The servers whose state is another one now, and worth a line."""
    for name, server in after.servers.items():
        if server.state in TOLD and before.servers[name].state != server.state:
            yield name, server


def event(name: str, server: Server) -> dict[str, Any]:
    """What programs are told of a server."""
    return {"server": name, "state": server.state, "before": server.before, "why": server.why, **server.line}


class Lines:
    """Appends a line for each server that has come to an end, and for each phase."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def tell(self, before: Rollout, after: Rollout) -> None:
        """Say what changed."""
        said = [line(name, server, after.version) for name, server in changes(before, after)]
        if before.phase != after.phase or before is after:
            said.append(self._phase(after))
        for text in said:
            self._out.write(text + "\n")
        self._out.flush()

    @staticmethod
    def _phase(rollout: Rollout) -> str:
        led = rollout.led
        what = {
            words.ASKING: f"asking {len(rollout.servers)} servers",
            words.PREPARING: f"staging {rollout.version} on {len(led)}: nothing is switched yet",
            words.ROLLING: f"{', '.join(led[: rollout.options.first])} first, "
            f"then {rollout.options.at_once(len(led))} at once",
            words.STOPPING: "no more begin",
        }.get(rollout.phase, rollout.why)
        return f"[{rollout.id}] {rollout.phase}: {what}"


class Table(Lines):
    """The same on a terminal: below the lines, a table of those that are not at their end is drawn again and again."""

    def __init__(self, out: IO[str]) -> None:
        super().__init__(out)
        self._drawn = 0

    def tell(self, before: Rollout, after: Rollout) -> None:
        """Say what changed, and draw."""
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
        super().tell(before, after)
        size = shutil.get_terminal_size()
        open_ones = (
            [(name, server) for name, server in after.servers.items() if server.state not in TOLD]
            if after.phase not in words.ENDED
            else []
        )
        now, rows = time.time(), []
        busy = {*words.BUSY, *words.BALANCED}
        for name, server in sorted(open_ones, key=lambda each: each[1].state not in busy)[: size.lines - 4]:
            row = f"  {name:<24.24} {server.before or '-':<8.8} {server.state:<10} {now - server.since:4.0f} s  "
            rows.append((row + server.reason)[: size.columns - 1])
        self._drawn = len(rows)
        self._out.write("".join(f"{row}\n" for row in rows))
        self._out.flush()


class Json(Lines):
    """One JSON object a line: of a server ``{"rollout", "server", "state", ...}``, or of a phase."""

    def tell(self, before: Rollout, after: Rollout) -> None:
        """Say what changed."""
        for name, server in changes(before, after):
            self._say(after, {**event(name, server), "since": server.since})
        if before.phase != after.phase or before is after:
            self._say(after, {"phase": after.phase, "why": after.why})

    def _say(self, rollout: Rollout, told: dict[str, Any]) -> None:
        self._out.write(json.dumps({"rollout": rollout.id, "version": rollout.version, **told}) + "\n")
        self._out.flush()
