"""What a person sees while the lab works: each step with its time; of a failure the step, the reason and the log."""

import contextlib
import subprocess
import sys
import threading
import time

HEARTBEAT = 20


class Failure(Exception):
    """A step that failed.

    Args:
        why: what went wrong, with the value seen and what to do.
        log: path of the log that has the whole story, or None.
    """

    def __init__(self, why, log=None):
        super().__init__(why)
        self.why = why
        self.log = log
        self.step = None

    def __str__(self):
        text = f"{self.step}: {self.why}" if self.step else self.why
        return f"{text}\n  log: {self.log}" if self.log else text


def say(text):
    """Prints a line about progress to stderr, so that stdout stays the command's own."""
    sys.stderr.write(f"lab: {text}\n")
    sys.stderr.flush()


@contextlib.contextmanager
def step(name):
    """Announces a step, tells every 20 s that it still runs, then its time; a Failure inside learns the step's name."""
    begin = time.monotonic()
    done = threading.Event()

    def heartbeat():
        while not done.wait(HEARTBEAT):
            say(f"{name}: still at it after {time.monotonic() - begin:.0f} s")

    threading.Thread(target=heartbeat, daemon=True).start()
    say(f"{name} ...")
    try:
        yield
    except Failure as failure:
        failure.step = failure.step or name
        raise
    finally:
        done.set()
    say(f"{name}: {time.monotonic() - begin:.1f} s")


def poll(check, timeout, every=0.05):
    """Calls `check` until it returns something true, at most `timeout` seconds long.

    Returns:
        What `check` returned last; false means that the time ran out.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = check()
        if result or time.monotonic() > deadline:
            return result
        time.sleep(every)


def run(argv, log=None, **kwargs):
    """Runs a command that has to succeed.

    Args:
        argv: list of str.
        log: path of a file that output is added to; without it the output is captured.
        kwargs: for subprocess.run.

    Returns:
        The CompletedProcess.

    Raises:
        Failure: with the command, its exit code and the end of its output.
    """
    argv = [str(arg) for arg in argv]
    try:
        if log is None:
            done = subprocess.run(argv, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **kwargs)
        else:
            with open(log, "ab") as output:
                done = subprocess.run(argv, stdout=output, stderr=subprocess.STDOUT, **kwargs)
    except OSError as error:
        raise Failure(f"cannot run {argv[0]}: {error.strerror}", log) from error
    if done.returncode:
        tail = last_lines(log.read_text(errors="replace") if log else done.stdout)
        raise Failure(f"exit code {done.returncode} from {' '.join(argv[:6])}\n{tail}", log)
    return done


def last_lines(text, count=8):
    """Returns the last lines of a text, indented as evidence under a message."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  | {line}" for line in lines[-count:])
