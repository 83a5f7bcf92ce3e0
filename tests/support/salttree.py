"""The tree's modules, wired together as Salt's loader would, with no Salt around them."""

import importlib.util
import pathlib

SALT = pathlib.Path(__file__).parents[2] / "salt"


class Tree:
    """
    ``salt/_utils``, ``salt/_modules`` and ``salt/_states`` by their names: ``tree.utils.globoapp_files``,
    ``tree.modules.globoapp_deploy``, ``tree.states.globoapp``. They share one ``pillar``, ``opts``,
    ``context`` and ``salt`` (a dict of execution functions, where a test puts its own in place).
    """

    def __init__(self, tmp_path):
        self.pillar, self.context, self.salt, self.running = {}, {}, {}, {}
        self.opts = {"id": "web1", "test": False, "jid": "20260101000000000000", "cachedir": str(tmp_path / "cache")}
        utils = {}
        self.utils = self._load("_utils", utils)
        self.modules = self._load("_modules", self.salt)
        self.states = self._load("_states", {})
        for module in (*vars(self.utils).values(), *vars(self.modules).values(), *vars(self.states).values()):
            vars(module).update(
                __utils__=utils,
                __salt__=self.salt,
                __opts__=self.opts,
                __pillar__=self.pillar,
                __context__=self.context,
                __running__=self.running,
            )

    def _load(self, kind, functions):
        """The modules of a directory in a namespace; their public functions go to ``functions``."""
        loaded = type(kind, (), {})()
        for path in sorted((SALT / kind).glob("globoapp*.py")):
            # One file name stands for a module, a state and more: names that cannot clash.
            spec = importlib.util.spec_from_file_location(f"tree{kind}_{path.stem}", path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            setattr(loaded, path.stem, module)
            for name, value in vars(module).items():
                if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == spec.name:
                    functions[f"{path.stem}.{name}"] = value
        return loaded
