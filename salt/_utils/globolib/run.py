"""
One run of the states of a deploy on this host: what it was computed from, once, and what it has done so far.

A :class:`Run` lives from the first sls file that is rendered to the state that records; the sls files are rendered
from the very object that the states use. Steps: begin, build, unpack, try, configure, switch, check, finish.
"""

import os
import time
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from globolib import (
    apps,
    artifact,
    collisions,
    command,
    files,
    ledger,
    leftovers,
    lock,
    maintenance,
    preflight,
    processes,
    release,
    started,
    survey,
    switch,
    trial,
    virtualenv,
)
from globolib import settings as settings_of
from globolib.errors import Failure
from globolib.ledger import Entry
from globolib.minion import Minion
from globolib.plan import Target, plan
from globolib.settings import Resolution, Settings

CONTEXT = "globoapp.run"


def resolve(minion: Minion) -> tuple[Resolution, tuple[Entry, ...]]:
    """The settings that a deploy would use now; and the ledger."""
    entries = ledger.read(Settings(root=settings_of.root_of(minion.pillar, minion.app)).layout.ledger)
    deployed = ledger.deployed(entries)
    here = deployed.data if deployed else None
    capacity = processes.capacity()
    interfaces = processes.interfaces()
    resolution = settings_of.resolve(minion.pillar, here, interfaces, minion.call, capacity, minion.app)
    return replace(resolution, problems=(*minion.app_problems, *resolution.problems)), entries


def deployed_settings(minion: Minion) -> tuple[Settings, Entry | None, tuple[Entry, ...]]:
    """The settings of what is deployed here, and its ledger line; (settings, None, ...) when nothing is."""
    resolution, entries = resolve(minion)
    entry = ledger.deployed(entries)
    settings = resolution.settings
    if entry:
        settings = settings.at(version=entry.version, port=entry.port, bind=entry.bind, address=entry.address)
    return settings, entry, entries


def _placed(resolution: Resolution) -> Resolution:
    """With a root that is no link: two links may lead to one directory."""
    return replace(resolution, settings=resolution.settings.at(root=os.path.realpath(resolution.settings.root)))


class Run:
    """See the module. ``settings``, ``host``, ``examined`` and ``problems`` are there from the start."""

    def __init__(self, minion: Minion) -> None:
        self.minion = minion
        self.resolution, entries = resolve(minion)
        self.settings = self.resolution.settings
        self.host = survey.survey(self.settings, entries)
        inner = minion.pillar.get(settings_of.INNER)
        self.inner: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
        # A rollback goes to what is here, whatever the source has by now; so does a repair.
        self.examined = preflight.examine(minion, self.resolution, self.host, self.is_new_version)
        self._judge_virtualenv()
        self.problems = preflight.problems(minion.id, self.resolution, self.host, self.examined)
        # The maintenance in which this run does nothing, and is content with it: a scheduled one.
        self.idle = maintenance.current(self.settings.layout)
        if self.idle and maintenance.is_asked(minion, self.inner):
            self.problems.insert(0, maintenance.refusal(minion, self.idle))
            self.idle = None
        # The other apps of this host.
        self.others = {name: resolve(minion.for_app(name))[0] for name in minion.apps if name != minion.app}
        others = {name: _placed(other) for name, other in self.others.items()}
        self.problems += collisions.problems(minion.app, _placed(self.resolution), others)
        self.id = ledger.identity()
        self.started = time.monotonic()
        self.lock: lock.Lock | None = None
        self.begun = False
        self.whole = True
        self.command: Mapping[str, Any] | None = None  # what the ledger has of the release command
        self._course: switch.Course | None = None

    @property
    def is_new_version(self) -> bool:
        """Whether this run deploys another version than the deployed one, and is no rollback and no repair."""
        deployed = self.host.deployed
        return not self.inner and (deployed is None or deployed.version != self.settings.version)

    @property
    def release_command(self) -> Sequence[str]:
        """What is to be run before the trial: pillar's words, or the manifest's; empty for nothing."""
        made = self.examined.artifact
        if not self.is_new_version or made is None:
            return ()
        return self.settings.release_words(made.manifest.release_command)

    @property
    def target(self) -> Target:
        """What the release needs beside its settings. Raises Failure where preflight could not find it out."""
        if self.examined.target is None:
            raise Failure("; ".join(self.problems) or f"what {self.settings.version} needs could not be found out")
        return self.examined.target

    @property
    def course(self) -> switch.Course:
        """What the switch has done so far."""
        if self._course is None:
            self._course = switch.Course(self.host.deployed, self.host.texts, self.target)
        return self._course

    @property
    def steps(self) -> dict[str, str]:
        """What separates the host from the settings now: ``{step: why}``."""
        return plan(self.settings, self.host, self.target)

    def look(self) -> None:
        """Look at the host again, as a whole."""
        self.host = survey.survey(self.settings)
        self._judge_virtualenv()

    def _judge_virtualenv(self) -> None:
        """The virtualenv that is wanted may be one that no release here uses yet."""
        target = self.examined.target
        if target and target.virtualenv not in self.host.virtualenv_differences:
            judged = {**self.host.virtualenv_differences, target.virtualenv: virtualenv.differences(target.virtualenv)}
            self.host = replace(self.host, virtualenv_differences=judged)

    def begin(self, whole: bool = True) -> list[str]:
        """
        Take the lock, see that the settings still hold, and clear away what a deploy that was cut has left; that
        deploy gets its line in the ledger. Returns what was cleared: a list of phrases.

        whole
            Whether :meth:`finish` will be called. A run that only prepares a release leaves no note of itself.
        """
        self.whole = whole
        layout = self.settings.layout
        if not self._is_inner():
            self.lock = take_lock(self.minion, self.settings, f"deploy of {self.settings.version}")
        try:
            return self._begin(layout.note)
        except BaseException:
            self.unlock()
            raise

    def _begin(self, note_path: str) -> list[str]:
        settings = self.settings
        if held := maintenance.current(settings.layout):  # it began after this run was rendered
            raise Failure(maintenance.refusal(self.minion, held))
        now, entries = resolve(self.minion)
        if now.settings.at(environment={}) != settings.at(environment={}):
            raise Failure(
                f"while this deploy of {settings.version} to {settings.bound} began, another one "
                f"put {now.settings.version} to {now.settings.bound}: look at globoapp.history, "
                "and deploy again"
            )
        if len(entries) != len(self.host.entries):  # a deploy to the same place ended meanwhile
            self.look()
        self.begun = True
        # Of another deploy that was under way when this one was rendered nothing may be left by now.
        cleared = [left for left in self.host.leftovers if not left.startswith("/") or os.path.lexists(left)]
        note = _read_note(note_path)
        # A run that was cut after its ledger line, which decides, had only its note left to take away.
        if note and note.get("id") not in [entry.id for entry in entries]:
            cut = "the deploy was cut before it ended: its process or the machine went down"
            ledger.append(settings.layout.ledger, {**note, "result": ledger.INTERRUPTED, "failed": [cut]})
        leftovers.clear(cleared)
        if os.path.exists(note_path):
            os.unlink(note_path)
        self._note_what_runs()
        if self.whole and self.course.is_move(settings):
            files.make_directory(settings.layout.own)
            files.write_json(note_path, self._line())
        if cleared:
            self.look()
        return cleared

    def _note_what_runs(self) -> None:
        """Of an instance that systemd has started by itself nobody knows what it had read: what is there now, then."""
        layout = self.settings.layout
        for name in self.host.running(layout):
            unit, record = self.host.units[layout.instance(name)], self.host.releases.get(name)
            if record and not started.is_noted(layout, name, unit):
                started.note(layout, name, record, unit)

    def _is_inner(self) -> bool:
        """Whether a run of this process (a rollback) holds the lock around this one."""
        token = self.inner.get("token")
        holder = lock.holder(self.settings.layout.lock) if token else None
        return holder is not None and holder.get("run") == token

    def _line(self) -> dict[str, Any]:
        """The fields of a ledger line that are known from the start."""
        settings, before = self.settings, self.course.before
        action = str(self.inner.get("action") or "deploy") if self.course.is_move(settings) else "repair"
        return {
            "id": self.id,
            "host": self.minion.id,
            **self.minion.about,
            "name": settings.name,
            "version": settings.version,
            **({"port": settings.port} if settings.port else {}),
            "bind": settings.bind,
            "action": action,
            "from": before.version if before else None,
            "jid": self.minion.job,
        }

    def build(self) -> str:
        """Build the virtualenv. Returns by what: ``uv`` or ``pip``."""
        if self.examined.artifact is None or self.examined.interpreter is None:
            raise Failure("; ".join(self.problems))
        self._note_repair("build")
        built = virtualenv.build(self.minion, self.settings, self.examined.artifact.lock, self.examined.interpreter)
        self.look()
        return str(built.installer)

    def unpack(self) -> list[str]:
        """Put the release in place. Returns what was done: a list of phrases."""
        made = self.examined.artifact
        if made is None:
            raise Failure("; ".join(self.problems))
        if made.path is None:  # the host's own copy is gone
            made = artifact.fetch(self.minion, self.settings)
        self._note_repair("unpack")
        done = release.unpack(self.settings, made, self.target.virtualenv)
        self.look()
        return done

    def configure(self) -> list[str]:
        """Write the files that the app's units and gunicorn read. Returns the paths of those that changed."""
        self._note_repair("configure")
        changed = switch.configure(self.settings, self.course.target)
        if changed:
            self._look_again()
        return changed

    def _note_repair(self, step: str) -> None:
        """What runs is to start afresh when the step has put right what it reads."""
        settings, layout = self.settings, self.settings.layout
        if settings.release in self.host.running(layout) and step in self.steps:
            unit = self.host.units[layout.instance(settings.release)]
            started.note_repair(layout, settings.release, unit, self.steps[step])

    def run_release_command(self) -> str:
        """Run what the release wants to have run before its trial. Returns how it ended. Raises Failure."""
        settings, words = self.settings, self.release_command
        # Also where it, or this run, does not come to its end.
        self.command = {"exit": None}
        files.write_json(settings.layout.note, {**self._line(), "release_command": self.command})
        ended, path = command.release_command(settings, words, self.target.wsgi)
        self.command = ended.told
        self._look_again()  # it may have taken minutes
        said = command.told(words, ended, path)
        if ended.exit != 0:
            raise Failure(
                f"the release command of {settings.version} failed, and nothing was switched: {said}\n"
                "What it has changed stays (a database's schema): the next deploy runs it again"
            )
        return said

    def try_candidate(self) -> str:
        """Try the release on a private socket. Returns what was seen."""
        seen = trial.try_candidate(self.settings, self.host, self.target)
        self._look_again()
        return seen

    def switch(self) -> dict[str, str]:
        """Make the release what serves. Returns ``{step: phrase}`` of what was done. :meth:`check` looks again."""
        return switch.switch(self.settings, self.host, self.course)

    def check(self) -> str:
        """Ask the service, and after a switch go on looking. Returns what was seen."""
        return switch.check(self.settings, self.host, self.course)

    def _look_again(self) -> None:
        self.host = survey.again(self.settings, self.host)

    def finish(self, failures: Sequence[str], changed: Sequence[str]) -> dict[str, Any] | None:
        """
        Write the ledger line of this run, if it did or tried anything, and let the next deploy go on.

        failures
            What failed, phrases; empty for a success.
        changed
            The IDs of the states that changed something.

        Returns the line, or None when there was nothing to record.
        """
        if not self.begun:
            return None  # what is noted there is another run's
        try:
            return self._finish(failures, changed)
        finally:  # the run is over, also where the disk does not take its line: the note tells the next one
            self.begun = False
            self.unlock()

    def _finish(self, failures: Sequence[str], changed: Sequence[str]) -> dict[str, Any] | None:
        settings, layout = self.settings, self.settings.layout
        seen = self.course.probe.finish() if self.course.probe else None
        line = None
        if failures or changed or self.course.is_move(settings):
            line = ledger.append(
                layout.ledger,
                {
                    **self._line(),
                    "address": settings.address,
                    "result": ledger.FAILED if failures else ledger.SUCCESS,
                    "duration": round(time.monotonic() - self.started, 3),
                    "changed": list(changed),
                    **({"failed": list(failures)} if failures else {}),
                    **({"release_command": self.command} if self.command else {}),
                    **({"probe": seen} if seen else {}),
                    **({"cut": self.course.cuts.count} if self.course.cuts.count else {}),
                },
            )
            self.minion.send(f"globoapp/deploy/{self.minion.id}", line)
        record = self.host.releases.get(settings.release)
        if not failures and record and record.failed:  # also where there was nothing to do: it is healthy
            release.annotate(layout, settings.release, failed=None)
        if os.path.exists(layout.note):
            os.unlink(layout.note)
            files.sync_directory(layout.own)
        return line

    def unlock(self) -> None:
        """Let the next deploy go on."""
        if self.lock:
            self.lock.release()
            self.lock = None


def take_lock(
    minion: Minion, settings: Settings, what: str, wait: float | None = None, token: str | None = None
) -> lock.Lock:
    """
    Be the only deploy on this host until the lock is released or this process ends.

    what
        What is done, for others to read.
    wait
        Seconds; by default pillar ``lock_wait``.
    token
        By which a run inside this one knows that it may go on.

    Raises Failure, naming the holder, when another one does not end in time.
    """
    files.make_directory(settings.layout.own)
    wait = settings.lock_wait if wait is None else wait
    who = {"what": what, "jid": minion.job, "pid": os.getpid(), "since": ledger.now(), "run": token}
    taken = lock.acquire(settings.layout.lock, wait, who)
    if isinstance(taken, lock.Lock):
        return taken
    raise Failure(
        f"another deploy is under way on this host: {taken.get('what', 'unknown')}, since "
        f"{taken.get('since', 'unknown')}, job id {taken.get('jid')}, process {taken.get('pid')}; waited "
        f"{wait:g} s for it to end. Try again when it has ended (salt-run jobs.lookup_jid)"
    )


def _read_note(path: str) -> dict[str, Any] | None:
    try:
        note = files.read_json(path)
        return note if isinstance(note, dict) and Entry.parsed({"result": "", **note}) else None
    except (ValueError, TypeError, RecursionError):  # torn by a power cut
        return None


def current(minion: Minion, context: MutableMapping[str, Any]) -> Run:
    """
    The run of the minion's app that the states of this job belong to; made at the first question.

    context
        Salt's ``__context__``, which rendering and states of one job share.
    """
    key = (minion.job, os.getpid())
    place = f"{CONTEXT}.{minion.app}"
    known = context.get(place)
    if known is None or known[0] != key:
        # One that only prepared a release, in a minion whose jobs are no processes of their own.
        close(context, minion.app)
        known = (key, Run(minion))
        context[place] = known
    run: Run = known[1]
    return run


def close(context: MutableMapping[str, Any], app: str = apps.DEFAULT) -> None:
    """Forget the run of an app: what comes next in this process is another one."""
    known = context.pop(f"{CONTEXT}.{app}", None)
    if known:
        known[1].unlock()
