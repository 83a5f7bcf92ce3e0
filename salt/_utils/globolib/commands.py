"""Programs that are started: each has one deadline for all of it, and its output is harmless text."""

import logging
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from globolib import text
from globolib.errors import Failure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What a program gave: exit code and output."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def words(self) -> str:
        """What it said, for people: standard error, or else standard output."""
        return "\n".join(text.lines((self.stderr or self.stdout).strip(), most=40))


def run(
    command: Sequence[str],
    deadline: float = 120,
    check: bool = True,
    environ: Mapping[str, str] | None = None,
    shown: int | None = None,
) -> Done:
    """
    Start a program, wait for its end, and return what it gave. Nothing is inherited that changes its work: umask
    022, the C.UTF-8 locale, no standard input.

    deadline
        Seconds for all of it; then it is killed.
    check
        Raise Failure, with its words, when it ends with another code than 0.
    environ
        Variables on top of PATH, HOME and LANG.
    shown
        How many words of the command an error shows; all by default.

    Raises Failure: past its deadline, or it cannot be started.
    """
    name = " ".join(command[:shown]) + (" ..." if shown is not None and len(command) > shown else "")
    log.debug("running %s", name)
    variables = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/root", "LANG": "C.UTF-8", **(environ or {})}
    try:
        process = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline,
            check=False,
            umask=0o022,
            env=variables,
        )
    except subprocess.TimeoutExpired:
        raise Failure(f"{name}: no end after {deadline:g} s") from None
    except OSError as error:
        raise Failure(f"{command[0]} does not run: {error.strerror or error}") from error
    done = Done(process.returncode, process.stdout, process.stderr)
    if check and done.code:
        raise Failure(f"{name}: exit {done.code}: {done.words}")
    return done
