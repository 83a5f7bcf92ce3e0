"""
What the sls files are rendered from where salt-ssh renders them, on the control machine: one state, which has the
server apply them itself (:mod:`globoapp_ssh`).
"""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_utils"))

import salt.utils.yaml  # noqa: E402
from globolib import shipped  # noqa: E402

KEY = "globoapp.ssh"


def __virtual__():
    return "globoapp_minion"


def is_current(served=None):
    """Nothing is to be brought to the control machine: True."""
    return True


def call():
    """What was called: ``{"fun": name, "arg": words}``."""
    words = __context__["master_opts"].get("argv", [])
    return {"fun": words[0], "arg": list(words[1:])} if words else {}


def rendered():
    """The state that is to be there: see :func:`globolib.shipped.state`."""
    if KEY not in __context__:
        client = __context__["fileclient"]
        state = shipped.state(
            __pillar__.value(), call(), salt.utils.yaml.safe_load, client.file_list(), client.cache_file
        )
        __context__[KEY] = [{"by_ssh": state, "problems": True}]
    return __context__[KEY]


def fit(served=None):
    """Nothing is deployed by the control machine: none."""
    return []
