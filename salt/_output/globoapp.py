"""
``--out=globoapp``: a line for each server of what ``state.apply globoapp``, ``globoapp.rollback`` and
``globoapp.health`` return, and the inventory as a table. All else is shown as Salt does by default.
"""

import globolib

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
