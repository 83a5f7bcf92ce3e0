"""
What each state of a deploy does, and what it says: in a run, and under ``test=True``, where nothing is touched.
"""

import difflib
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from globolib import (
    accounts,
    answers,
    command,
    files,
    ledger,
    maintenance,
    nginx,
    observe,
    plan,
    prune,
    rollback,
    run,
    switch,
)
from globolib.apps import place
from globolib.errors import Failure
from globolib.layout import release_of
from globolib.minion import Minion
from globolib.run import Run
from globolib.settings import Settings


@dataclass(frozen=True)
class Outcome:
    """What a state has to tell: ``changes`` are what was changed, or under test=True what would be."""

    comment: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    result: bool | None = True
    warnings: Sequence[str] = ()


def _numbered(phrases: Sequence[str]) -> dict[str, str]:
    return {str(number): phrase for number, phrase in enumerate(phrases, 1)}


def ready(here: Run, name: str, whole: bool) -> Outcome:
    """
    The settings and the host are fit for the deploy, it is the only one, and nothing is left of one that was cut.

    whole
        Whether what comes of this run will be recorded: of ``state.apply globoapp.app`` it will not.
    """
    if here.idle:
        return Outcome(f"Nothing was touched: {maintenance.refusal(here.minion, here.idle)}")
    if here.problems:
        listed = "".join(f"\n  - {problem}" for problem in here.problems)
        raise Failure(f"Nothing was touched. To be put right first:{listed}")
    cleared = list(here.host.leftovers) if here.minion.test else here.begin(whole)
    warnings = [*here.resolution.warnings, *here.examined.notes]
    comment = "\n".join(["The settings are valid and the host is fit.", *warnings])
    changes = {"cleared": _numbered(cleared)} if cleared else {}
    return Outcome(comment, changes, warnings=warnings)


def _begun(here: Run) -> None:
    """A state that was applied alone (state.sls_id) changes nothing: nobody keeps a deploy out meanwhile."""
    if not here.begun:
        raise Failure("This state changes nothing without the first one of a deploy: apply globoapp as a whole")


def _recorded(here: Run) -> None:
    """What serves is changed only by a run that the ledger will know of."""
    _begun(here)
    if not here.whole:
        raise Failure(
            "Only a part of the states is applied, and the ledger would not know what it did: it prepares the release "
            "and does not touch what serves. Apply globoapp as a whole"
        )


def virtualenv(here: Run, name: str) -> Outcome:
    """The virtualenv of the release's lock is complete."""
    path = here.target.virtualenv
    if "build" not in here.steps:
        return Outcome(f"{path} is complete.")
    if here.minion.test:
        return Outcome(f"{path} would be built.", {path: "to be built"})
    _begun(here)
    return Outcome(f"{path} was built by {here.build()}.", {path: "built"})


def release(here: Run, name: str) -> Outcome:
    """The release is unpacked and holds what its artifact holds."""
    made = here.examined.artifact
    sha256 = made.sha256[:12] if made else ""
    if "unpack" not in here.steps:
        return Outcome(f"{name} is what artifact {sha256} holds.")
    if here.minion.test:
        return Outcome(f"{name} would be put in place.", {name: {"1": here.steps["unpack"]}})
    _begun(here)
    return Outcome(f"{name} holds artifact {sha256}.", {name: _numbered(here.unpack())})


def tried(here: Run, name: str) -> Outcome:
    """
    The release was seen to work on a private socket before it may touch the shared one. One that runs already needs
    no trial; neither does what is deployed when nothing serves at all.
    """
    if not plan.needs_trial(here.settings, here.host, here.steps):
        return Outcome(f"{name} needs no trial.")
    if here.minion.test:
        return Outcome(f"{name} would be tried on a private socket.", {name: "to be tried"})
    _begun(here)
    return Outcome(here.try_candidate() + ".")


def release_command(here: Run, name: str) -> Outcome:
    """What the release wants to have run before it is tried has run: where the deploy moves to another version."""
    words = here.release_command
    if not words:
        return Outcome(f"{name} is the deployed version by now: nothing is to be run.")
    if here.minion.test:
        return Outcome(f"{command.shown(words)} would be run.", {name: "its release command to be run"})
    _begun(here)
    if not here.whole:
        return Outcome("Only a part of the states is applied: the release command is not run.")
    return Outcome(here.run_release_command(), {name: "its release command has run"})


def configured(here: Run, name: str) -> Outcome:
    """The files that the app's units and gunicorn read hold what the settings say."""
    if "configure" not in here.steps:
        return Outcome(f"The units of {name} are what they should be.")
    before, wanted = here.host.texts, plan.wanted_texts(here.settings, here.target)
    differing = [path for path, text in wanted.items() if before.get(path) != text]
    changes = {path: _diff(path, before.get(path), wanted[path]) for path in differing}
    if here.minion.test:
        return Outcome(f"Files of {name} would be written.", changes)
    _recorded(here)
    here.configure()
    return Outcome(f"Files of {name} were written.", changes)


def _diff(path: str, before: str | None, after: str) -> str:
    if path.endswith(".env"):
        return "it differs"  # its values may be secrets
    if before is None:
        return "New file"
    return "".join(difflib.unified_diff(before.splitlines(True), after.splitlines(True), n=1))


def serving(here: Run, name: str) -> Outcome:
    """The release, and it alone, takes the requests on its address, now and after a reboot."""
    at = here.settings.listen
    steps = {step: why for step, why in here.steps.items() if step not in plan.BEFORE_SWITCH}
    if not steps:
        return Outcome(f"{name} serves {at}.")
    if here.minion.test:
        return Outcome(f"{name} would serve {at}.", steps)
    _recorded(here)
    return Outcome(f"{name} serves {at}.", here.switch())


def healthy(here: Run, name: str) -> Outcome:
    """The service answers as the release should, and it is this release that answers."""
    if here.begun and here.whole:
        return Outcome(here.check() + ".")
    if here.minion.test and here.steps:
        return Outcome("The service would be asked.", result=None)
    # A dry run has touched nothing since it looked.
    seen = answers.health(here.minion, deadline=0, known=here.host if here.minion.test else None)
    return Outcome("; ".join(seen.get("problems", ["It answers as it should."])), result=seen["healthy"])


def proxy_checked(here: Run, name: str) -> Outcome:
    """nginx takes what the setting ``proxy`` asks for, and finds the app also while it moves to another address."""
    doing = nginx.steps(here.settings)
    if here.minion.test:
        return Outcome("nginx would be asked." if doing else "nginx is what it should be.")
    _begun(here)
    deployed, settings = here.host.deployed, here.settings
    leaves = deployed if here.whole and deployed and deployed.place[1:] != (settings.port, settings.bind) else None
    done = nginx.prepare(settings, leaves.listen if leaves else None)
    if here.whole and here.course.is_move(settings):
        files.link(settings.layout.beside, f"../{settings.release}")
    return Outcome("nginx takes the site.", done)


def proxied(here: Run, name: str) -> Outcome:
    """nginx is in front of the app as the setting ``proxy`` says, and by it the release answers as it should."""
    settings, doing = here.settings, nginx.steps(here.settings)
    path = nginx.HERE.site(settings.name)
    before = files.read(path)

    def told() -> dict[str, str]:
        after = nginx.wanted(settings) if settings.front else ""
        return {**doing, **({path: _diff(path, before, after)} if {"site", "remove"} & set(doing) else {})}

    if here.minion.test:
        return Outcome("nginx would be changed." if doing else "nginx is what it should be.", told())
    _recorded(here)
    if settings.front is None:
        nginx.take_up(settings)
        return Outcome("The proxy was taken away." if doing else "There is no proxy.", told())
    place, wanted = nginx.where(settings, settings.front), here.host.releases[settings.release].manifest.health
    warnings = [
        f"proxy:static:{prefix} is {directory!r}, and {settings.version} has no such directory: nginx answers 404"
        for prefix, directory in settings.front.static.items()
        if not os.path.isdir(os.path.join(settings.layout.release(settings.release), directory))
    ]
    try:
        nginx.take_up(settings, proven=lambda: observe.answers(settings, place, wanted))
    except (Failure, OSError) as failure:
        why = f"{settings.version} does not answer by its proxy: {failure}"
        if here.course.is_move(settings) and {"start", "reload"} & set(doing) and "site" not in doing:
            # nginx was not well, and this run changes nothing of it: the release has no part in that, and the one of
            # before would be no better off.
            note = f"{why}\nIt is nginx that is not well, so the release stays"
            return Outcome(note, result=True, warnings=[*warnings, note])
        came_of_it = switch.put_back(settings, here.host, here.course)
        raise Failure(f"{why}{came_of_it}") from failure
    return Outcome(f"{place} answers as it should.", told(), warnings=warnings)


def recorded(here: Run, name: str, running: Mapping[str, Mapping[str, Any]]) -> Outcome:
    """
    What this run did, tried or failed to do is in the ledger; then the next deploy may go on.

    running
        The results of the states before it (Salt's ``__running__``): it has no requisites, a deploy that failed is
        recorded too, and comes after them by its place in the list.
    """
    failures, changed = _results(here, running)
    if here.minion.test:
        changes = {"line": "to be written"} if changed else {}
        return Outcome("A line would be written." if changes else "There is nothing to record.", changes)
    line = here.finish(failures, changed)
    if line is None:
        return Outcome("There is nothing to record.")
    comment = f"{line['action']} of {line['version']}: {line['result']} after {line['duration']} s."
    if failures and "release_command" in line:
        comment += " Its release command had run: what that changed (a database's schema) stays as it is."
    if line.get("probe"):
        probe = line["probe"]
        comment += (
            f" A probe every 20 ms meanwhile: {probe['sent']} requests, {probe['failed']} failed, longest gap "
            f"{probe['longest_gap_ms']} ms."
        )
    if cut := line.get("cut"):
        were = "1 request was" if cut == 1 else f"{cut} requests were"
        comment += f" {were} still running when graceful_timeout ended, and cut."
    return Outcome(comment, {"line": line["id"], "said": ledger.told(line)})


def _results(here: Run, running: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """
    Of the states of this tree that ran before, without those of other apps: which failed by themselves, and which
    changed something.
    """
    failures, changed = [], []
    others = [other.settings for other in here.others.values()]
    for tag, state in sorted(running.items(), key=lambda item: int(item[1].get("__run_num__", 0))):
        if not str(state.get("__sls__", "")).startswith("globoapp"):
            continue
        identity, comment = str(state.get("__id__", tag)), str(state.get("comment", ""))
        if not is_of(here.settings, identity) and any(is_of(other, identity) for other in others):
            continue
        if state.get("result") is False and "requisite failed" not in comment:
            failures.append(f"{identity}: {comment}")
        if state.get("changes"):
            changed.append(identity)
    return failures, changed


def is_of(settings: Settings, identity: str) -> bool:
    """Whether a state of this tree, by its ID, is one of the app with these settings; accounts may be several's."""
    name, version = settings.name, settings.version
    return identity.startswith(f"{name} {version} ") or identity in (
        f"packages of {name} {version} are installed",
        f"units of {name} are defined",
        f"nginx of {name} is installed",
        f"tree {settings.root} exists",
        f"system user {settings.user} exists",
        f"system group {accounts.group_of(settings)} exists",
    )


def _keep_static(here: Run) -> None:
    """`current` leads to the new release by now: pages of the one before still ask for its static files."""
    before = here.course.before
    if before and before.version != here.settings.version:
        files.link(here.settings.layout.beside, f"../{release_of(before.version)}")


def pruned(here: Run, name: str) -> Outcome:
    """Of old releases and virtualenvs there are no more than pillar ``keep`` says."""
    settings = here.settings
    if settings.front and not here.minion.test:
        _keep_static(here)
    if settings.keep == "all":
        return Outcome("All releases are kept.")
    if here.minion.test:
        chosen = prune.planned(settings, here.host.entries, here.target.virtualenv)
        going = [*chosen.releases, *chosen.virtualenvs]
    else:
        try:
            going = [kind for kinds in rollback.pruned(here.minion).values() for kind in kinds]
        except Failure as failure:  # the next deploy has begun, and prunes when it has ended
            return Outcome(f"Nothing was removed: {failure}")
    if not going:
        return Outcome(f"There are no more than {settings.keep} releases to keep.")
    return Outcome(f"Beyond keep: {settings.keep}, and unused.", {"removed": _numbered(going)})


def rendered(
    minion: Minion, context: MutableMapping[str, Any], monitor_problems: Callable[[Minion], Sequence[str]]
) -> list[dict[str, Any]]:
    """
    What the sls files are rendered from: of each app that this run works on the settings as a person may see them, and
    whether there are problems. An app that was not named and has no version yet is left out beside those that have one.

    context
        Salt's ``__context__``, where the runs are kept.
    monitor_problems
        What is wrong with the parts of pillar that monitoring owns.
    """
    names, wrong = minion.chosen
    runs = [run.current(minion.for_app(name), context) for name in names]
    due = [here for here in runs if here.settings.version or "version" in here.resolution.invalid] or runs
    for here in due:
        found = monitor_problems(here.minion)
        here.problems.extend(problem for problem in found if problem not in here.problems)
        if wrong:
            here.problems[:] = [wrong]
    made: set[str] = set()
    return [_rendered(here, made, [other.settings.name for other in due]) for here in due]


def _rendered(here: Run, made: set[str], names: Sequence[str]) -> dict[str, Any]:
    """
    made
        The accounts that are made for the apps before this one: each is made once.
    names
        Those of all apps; where two have the same, their first states are told apart by where their settings are.
    """
    settings, app = here.settings, here.minion.app
    title = settings.name if names.count(settings.name) == 1 else f"{settings.name} ({place(app)})"
    to_make = accounts.to_make(settings, here.examined.accounts or accounts.look(settings))
    wanted = [f"{kind} {name}" for kind in ("group", "user") if (name := to_make[f"new_{kind}"])]
    stays = bool(here.problems or here.idle)
    mine = [] if stays else [account for account in wanted if account not in made]
    made.update(mine)
    return {
        **settings.shown(),
        "app": app,
        "bound": settings.bound,
        "title": f"{title} {settings.version or '(no version)'}",
        "problems": stays,
        "runs_command": bool(here.release_command),
        "proxied": settings.front is not None or nginx.is_there(settings),
        "monitor": here.minion.pillar_section.get("monitor", {}),
        **to_make,
        "makes": [account.partition(" ")[0] for account in mine],
    }
