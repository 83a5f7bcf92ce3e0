"""
:mod:`globoapp` by salt-ssh: the same functions, asked on the server with the pillar, which a function that salt-ssh
calls there would not see.
"""

# Those of salt/_modules/globoapp.py; a test compares them.
NAMES = (
    *("settings", "preflight", "health", "status", "maintenance", "deploying", "releases", "history", "prune", "run"),
    "rollback",
)


def __virtual__():
    return "globoapp"


def _function(name):
    def ask(*args, **kwargs):
        kwargs = {key: value for key, value in kwargs.items() if not key.startswith("__")}
        low = {
            **{"state": "globoapp_ssh", "fun": "asked", "name": f"globoapp.{name}", "args": args, "kwargs": kwargs},
            "call": __salt__["globoapp_minion.call"](),
            "files": ["salt://globoapp"],
        }
        answer = __salt__["state.low"](low)["local"]
        states = answer.get("return") if isinstance(answer, dict) else None
        (state,) = states.values() if isinstance(states, dict) else ({},)
        told = state.get("changes") or {"return": state.get("comment") or answer, "retcode": 1}
        if told["retcode"]:
            __context__["retcode"] = told["retcode"]
        return told["return"]

    ask.__name__, ask.__doc__ = name, f"See {name} in salt/_modules/globoapp.py."
    return ask


globals().update({name: _function(name) for name in NAMES})
