"""
States of a deploy that no core state can say. Thin: what they do is in the execution modules.

Each takes its settings by :func:`globoapp.settings <salt.loaded.ext.module.globoapp.settings>`, the same that
the sls files were rendered with.
"""

import functools
import logging

from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def __virtual__():
    return "globoapp"


def _answer(name, comment, changes=None, result=True, warnings=None):
    """A state's return; under test=True changes mean that the result is None."""
    changes = changes or {}
    if changes and result and __opts__["test"]:
        result = None
    answer = {"name": name, "changes": changes, "result": result, "comment": comment}
    if warnings:
        answer["warnings"] = warnings
    return answer


def _fails(function):
    """A state whose CommandExecutionError is its red comment; so is a disk that is full, or another OSError."""

    @functools.wraps(function)
    def state(name, **kwargs):
        try:
            return function(name, **kwargs)
        except CommandExecutionError as error:
            return _answer(name, str(error), result=False)
        except OSError as error:
            log.exception("%s failed", name)
            return _answer(name, f"{error.filename or name}: {error.strerror or error}", result=False)

    return state


def _settings():
    return __salt__["globoapp.settings"]()


def _lines(phrases):
    return {str(number): phrase for number, phrase in enumerate(phrases, 1)}


@_fails
def ready(name, version=None, port=None, bind=None, **kwargs):
    """
    The settings and this host are fit for the deploy, it is the only one on the host, and nothing is
    left of one that was cut.

    name
        What is deployed, for people to read.
    version, port, bind
        What the sls files were rendered for. When another deploy has moved what stands since then, this
        one does not begin.
    """
    found = __salt__["globoapp.preflight"]()
    if found["problems"]:
        listed = "".join(f"\n  - {one}" for one in found["problems"])
        return _answer(name, f"Nothing was touched. To be put right first:{listed}", result=False)
    if __opts__["test"]:
        cleared = __salt__["globoapp_deploy.leftovers"](found)
    else:
        cleared = __salt__["globoapp_deploy.begin"]({**found, "version": version, "port": port, "bind": bind})
    comment = "\n".join(["The settings are valid and the host is fit.", *found["warnings"]])
    return _answer(name, comment, {"cleared": _lines(cleared)} if cleared else {}, warnings=found["warnings"])


@_fails
def virtualenv(name, **kwargs):
    """
    The virtualenv of the release's lock is complete.

    name
        The version.
    """
    settings = _settings()
    lock = __salt__["globoapp_preflight.artifact"](settings)["lock"]
    path = __salt__["globoapp_virtualenv.location"](settings, lock)
    if __salt__["globoapp_virtualenv.complete"](path):
        return _answer(name, f"{path} is complete.")
    if __opts__["test"]:
        return _answer(name, f"{path} would be built.", {path: "to be built"})
    built = __salt__["globoapp_virtualenv.build"](settings, lock)
    return _answer(name, f"{path} was built by {built['installer']}.", {path: "built"})


@_fails
def release(name, **kwargs):
    """
    The release is unpacked and holds what its artifact holds.

    name
        The release's directory.
    """
    settings = _settings()
    made = __salt__["globoapp_preflight.artifact"](settings)
    path = __salt__["globoapp_virtualenv.location"](settings, made["lock"])
    wrong = __salt__["globoapp_release.differences"](settings, settings["release"])
    known = __salt__["globoapp_release.record"](settings, settings["release"])
    if known and known["virtualenv"] != path:
        wrong.append(f"its virtualenv is not {path}")
    if not wrong and not __salt__["globoapp_release.environment"](settings, made["manifest"], test=True):
        return _answer(name, f"{name} is what artifact {made['sha256'][:12]} holds.")
    wrong = wrong or ["its environment differs"]
    if __opts__["test"]:
        return _answer(name, f"{name} would be put in place.", {name: _lines(wrong)})
    done = __salt__["globoapp_release.unpack"](settings, made, path)
    return _answer(name, f"{name} holds artifact {made['sha256'][:12]}.", {name: _lines(done or wrong)})


@_fails
def proven(name, **kwargs):
    """
    The release was seen to work on a private socket before it may touch the shared one. One that
    runs already needs no proof; neither does what stands here when nothing serves at all.

    name
        The release.
    """
    settings = _settings()
    steps = __salt__["globoapp_serving.plan"](settings)
    standing = __salt__["globoapp_deploy.standing"](settings)
    stands = bool(standing) and standing["version"] == settings["version"]
    serving = __salt__["globoapp_systemd.running"](settings["name"])
    if not {"start", "restart"} & set(steps) or (stands and not serving):
        return _answer(name, f"{name} has been proven before.")
    if __opts__["test"]:
        return _answer(name, f"{name} would be tried on a private socket.", {name: "to be tried"})
    return _answer(name, __salt__["globoapp_switch.prove"](settings) + ".")


@_fails
def serving(name, **kwargs):
    """
    The release, and it alone, takes the requests on its address, now and after a reboot.

    name
        The unit.
    """
    settings = _settings()
    steps = __salt__["globoapp_serving.plan"](settings)
    if __opts__["test"] and not {"start", "restart"} & set(steps) and (renewed := _renewed(settings)):
        steps["restart"] = f"{', '.join(renewed)} would be replaced"
    if not steps:
        return _answer(name, f"{name} serves {settings['address']}:{settings['port']}.")
    if __opts__["test"]:
        return _answer(name, f"{name} would serve {settings['address']}:{settings['port']}.", steps)
    done = __salt__["globoapp_switch.switch"](settings)
    return _answer(name, f"{name} serves {settings['address']}:{settings['port']}.", done)


@_fails
def healthy(name, **kwargs):
    """
    The service answers as the release should, and it is this release that answers.

    name
        Where it is asked.
    """
    settings = _settings()
    if __opts__["test"]:
        if (
            _renewed(settings)
            or __salt__["globoapp_serving.plan"](settings)
            or __salt__["globoapp_release.differences"](settings, settings["release"])
        ):
            return _answer(name, "The service would be asked.", result=None)
        seen = __salt__["globoapp.health"](deadline=0)
        return _answer(name, "; ".join(seen.get("problems", ["It answers as it should."])), result=seen["healthy"])
    return _answer(name, __salt__["globoapp_switch.check"](settings) + ".")


@_fails
def recorded(name, **kwargs):
    """
    What this run did, tried or failed to do is in the ledger; then the next deploy may go on.

    It takes the results of the states before it in the same run, so that it has no requisites and
    comes after them by its place in the list.

    name
        The ledger.
    """
    settings = _settings()
    steps = _steps()
    failures = [f"{step}: {comment}" for step, comment in steps["failed"]]
    if __opts__["test"]:
        changes = {"line": "to be written"} if steps["changed"] else {}
        return _answer(name, "A line would be written." if changes else "There is nothing to record.", changes)
    entry = __salt__["globoapp_deploy.finish"](settings, failures, steps["changed"])
    if entry is None:
        return _answer(name, "There is nothing to record.")
    comment = f"{entry['action']} of {entry['version']}: {entry['result']} after {entry['duration']} s."
    if entry.get("probe"):
        probe = entry["probe"]
        comment += (
            f" A probe every 20 ms meanwhile: {probe['sent']} requests, {probe['failed']} failed, longest gap "
            f"{probe['longest_gap_ms']} ms."
        )
    return _answer(name, comment, {"line": entry["id"]})


@_fails
def pruned(name, **kwargs):
    """
    Of old releases and virtualenvs there are no more than pillar ``keep`` says.

    name
        The root.
    """
    settings = _settings()
    if settings["keep"] == "all":
        return _answer(name, "All releases are kept.")
    does = "plan" if __opts__["test"] else "prune"
    going = [one for kind in __salt__[f"globoapp_prune.{does}"](settings).values() for one in kind]
    if not going:
        return _answer(name, f"There are no more than {settings['keep']} releases to keep.")
    return _answer(name, f"Beyond keep: {settings['keep']}, and unused.", {"removed": _lines(going)})


def _renewed(settings):
    """What the states before would replace of all that the release reads at its start: names; under test=True."""
    read = __salt__["globoapp_serving.inputs"](settings, settings["release"])
    found = []
    for tag, one in __running__.items():
        module, _, name, function = tag.split("_|-")
        ours = (module, function) in (("globoapp", "virtualenv"), ("globoapp", "release"))
        if one.get("changes") and (ours or name in read):
            found.append(name)
    return found


def _steps():
    """The states of this tree that ran before: which failed (by themselves), which changed something."""
    failed, changed = [], []
    for tag, one in sorted(__running__.items(), key=lambda item: item[1].get("__run_num__", 0)):
        if not str(one.get("__sls__", "")).startswith("globoapp"):
            continue
        if one.get("result") is False and "requisite failed" not in str(one.get("comment")):
            failed.append((one.get("__id__", tag), one.get("comment", "")))
        if one.get("changes"):
            changed.append(one.get("__id__", tag))
    return {"failed": failed, "changed": changed}
