"""
What salt-ssh has a server do, with what was sent along: the states of a deploy, or a function of :mod:`globoapp`. The
control machine renders the sls files, and knows nothing of the server; here they are rendered once more, where the
server can be looked at. Nothing of this tree is imported: it comes only now.
"""

import importlib.util

import salt.loader
from salt.exceptions import CommandExecutionError

# How a run is told what was called on the control machine (globolib.minion).
CALL = "globoapp_ssh"
NO_PSUTIL = (
    "the server has no psutil, which salt-ssh should have brought along: install it where salt-ssh runs, then type "
    "salt-ssh --wipe web1 test.ping and salt-ssh -t web1 test.ping, each once"
)


def __virtual__():
    return "globoapp_ssh"


def _sync():
    """Take up the custom code that was sent along: the package in _utils comes no other way."""
    if importlib.util.find_spec("psutil") is None:
        raise CommandExecutionError(NO_PSUTIL)
    for kind in ("utils", "modules", "states", "output"):
        __salt__[f"saltutil.sync_{kind}"](refresh=False)


def applied(name, call, **kwargs):
    """
    An sls is applied.

    name
        The sls.
    call
        What was called: ``{"fun": name, "arg": words}``.
    files
        What is sent along: Salt does so with each argument that begins with ``salt://``.
    """
    pillar = {**__pillar__, CALL: call}
    try:
        _sync()
        answer = __salt__["state.apply"](name, pillar=pillar, queue=False, test=__opts__["test"])
    except CommandExecutionError as error:
        answer = [error]
    if not isinstance(answer, dict):
        return {"name": name, "changes": {}, "result": False, "comment": "\n".join(map(str, answer))}
    states = []
    for tag, state in sorted(answer.items(), key=lambda item: item[1].get("__run_num__", 0)):
        low = dict(zip(("state", "__id__", "name", "fun"), tag.split("_|-"), strict=True))
        states.append({**state, "low": low})
    comment = "Applied on the server; its states follow."
    return {"name": name, "changes": {}, "result": True, "comment": comment, "sub_state_run": states}


def asked(name, args, kwargs, call, **more):
    """
    A function was asked.

    name
        The function.
    args, kwargs
        Its arguments.
    call, files
        As in :func:`applied`.

    ``changes`` is ``{"return": what it returned, "retcode": its return code}``.
    """
    context = {}
    opts = {**__opts__, "pillar": {**__pillar__, CALL: call}}
    try:
        _sync()
        functions = salt.loader.minion_mods(opts, utils=salt.loader.utils(opts), context=context)
        answer = functions[name](*args, **kwargs)
    except CommandExecutionError as error:
        context["retcode"], answer = 1, str(error)
    changes = {"return": answer, "retcode": context.get("retcode", 0)}
    return {"name": name, "changes": changes, "result": True, "comment": ""}
