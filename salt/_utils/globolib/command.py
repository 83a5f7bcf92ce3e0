"""
Runs a program with the code, the virtualenv and the environment of a release, in the sandbox of the unit that serves:
the release command before a trial, and what people run once.

The unit is a transient one of systemd-run: nothing of it is left on the disk, and systemd ends it at its deadline, with
all its processes, also where the process that waits for it was killed.
"""

import os
import shlex
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from globolib import argv, commands, files, ledger, release, systemd, text, trial, units
from globolib.errors import Failure
from globolib.host import Failed
from globolib.layout import COMMAND, ONCE
from globolib.settings import Settings

LINES = 1000  # of its output, the last ones
SHOWN = 15  # of these in an error or a state's comment
# Seconds for systemd beyond the time that the command and its end may take.
MARGIN = 30


@dataclass(frozen=True)
class Ended:
    """
    How a command ended.

    exit
        Its exit code; None where it was ended by a signal.
    result
        systemd's word: success, exit-code, timeout, signal, oom-kill.
    output
        The last lines that it wrote, standard output and error in their order, without empty ones.
    allowed
        The seconds that it had.
    """

    exit: int | None
    result: str
    seconds: float
    output: Sequence[str] = ()
    allowed: float = 0

    @property
    def words(self) -> str:
        """How it ended, for people."""
        if self.result == "timeout":
            return f"no end after {self.allowed:g} s: it was killed"
        how = f"exit {self.exit}" if self.exit is not None else f"it was killed ({self.result})"
        return f"{how} after {self.seconds:.2f} s"

    @property
    def told(self) -> dict[str, Any]:
        """What the ledger has of it."""
        return {"exit": self.exit, "seconds": round(self.seconds, 3)}


def shown(words: Sequence[str]) -> str:
    """A command as a harmless line."""
    return text.line(shlex.join(words), 300)


def run(settings: Settings, words: Sequence[str], environment: str, seconds: float, once: bool = False) -> Ended:
    """
    Run a program and wait for its end.

    environment
        The path of the environment file.
    seconds
        Its time; then it is ended with all its processes.
    once
        A person runs it: no deploy takes it for something left over.

    Raises Failure where systemd does not start it.
    """
    layout, name = settings.layout, settings.release
    unit = layout.instance(f"{ONCE if once else ''}{name}-{uuid.uuid4().hex[:8]}", COMMAND)
    trial.define(settings, COMMAND, {})
    properties = [f"--property={line}" for line in units.command_properties(settings, environment, seconds)]
    # systemd reads a variable in $X, and one dollar in two.
    escaped = [word.replace("$", "$$") for word in words]
    began = time.monotonic()
    try:
        done = commands.run(
            ["systemd-run", "--quiet", "--wait", f"--unit={unit}", *properties, "--", "/usr/bin/env", "--", *escaped],
            seconds + units.COMMAND_STOP + MARGIN,
            check=False,
            shown=1,
        )
        took = time.monotonic() - began
        exit_code, result = (0, "success") if done.code == 0 else systemd.ended(unit)
        if done.code and result == "success":
            raise Failure(f"{shown(words)} did not run: systemd-run: {done.words}")
        return Ended(exit_code, result, took, systemd.output(unit, LINES), seconds)
    finally:
        systemd.stop(unit)


def release_command(settings: Settings, words: Sequence[str], wsgi: str) -> tuple[Ended, str]:
    """
    Run the release command. Returns how it ended, and the path where its output is kept (empty where the disk does not
    take it). One that failed marks the release as failed.
    """
    layout, name = settings.layout, settings.release
    environment = layout.candidate_environment(name)
    trial.write({environment: units.environment_text(settings, wsgi)})
    ended = run(settings, words, environment, settings.release_timeout)
    now = ledger.now()
    path = os.path.join(layout.commands, f"{name}-{now}.log")
    try:
        files.make_directory(layout.commands, 0o750)
        files.write(path, "\n".join([f"{shown(words)}: {ended.words}", *ended.output]) + "\n", 0o640)
        if ended.exit != 0:
            release.annotate(layout, name, failed=Failed(now, f"its release command failed: {ended.words}", path))
    except OSError:  # a full disk must not hide how it ended
        path = ""
    return ended, path


def told(words: Sequence[str], ended: Ended, path: str) -> str:
    """How a release command ended, with its last lines."""
    lines = "".join(f"\n    | {line}" for line in ended.output[-SHOWN:]) or "\n    | (it wrote nothing)"
    kept = f"all of them in {path}" if path else "its output could not be kept"
    return f"{shown(words)}: {ended.words}\nIts last lines ({kept}):{lines}"


def parsed(command: Any) -> list[str]:
    """
    What a person typed as words: a text as a shell would split it, or a list. No shell reads it. Raises Failure where
    it is no command.
    """
    try:
        words = shlex.split(command) if isinstance(command, str) else command
    except ValueError as error:
        raise Failure(f"the command {command!r} cannot be split into words: {error}") from None
    if not argv.fits(words):
        raise Failure(f"the command is {command!r}: a program and its arguments, like 'alembic current'")
    return list(words)
