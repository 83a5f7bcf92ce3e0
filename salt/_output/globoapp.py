"""
``--out=globoapp``: a line for each server of what ``state.apply globoapp``, ``globoapp.rollback`` and
``globoapp.health`` return, and the inventory as a table. All else is shown as Salt does by default.
"""

import os
import sys

# Salt gives outputters no way to the package: it lies beside them, in a tree or among what a minion was sent.
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path += [os.path.join(HERE, name) for name in ("_utils", "utils")]

import globolib  # noqa: E402

globolib.refresh()

import salt.loader  # noqa: E402
from globolib import output as lines  # noqa: E402


def __virtual__():
    return "globoapp"


def output(data, **kwargs):
    """
    The text for what a command returned.

    data
        What each server returned, by its id; or what a runner did.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp.health --out=globoapp
        salt-run globoapp.inventory --out=globoapp
    """
    told = lines.table(data) or lines.told(data)
    return told or salt.loader.outputters(__opts__)["nested"](data, **kwargs)
