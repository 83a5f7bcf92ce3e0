"""Salt's client and event bus of a master whose servers answer at once, as a test has planned it."""

import collections
import itertools

FAILED = {
    "a": {"result": False, "comment": "1.1 failed its trial: boom\nits log"},
    "b": {"result": False, "comment": "One or more requisite failed: a"},
}
WELL = {"a": {"result": True, "comment": "", "changes": {}}}


class Servers:
    """Salt's client and event bus of a master whose servers do what `plan` says: {id: what happens in its deploy}."""

    def __init__(self, plan, has="1.0"):
        self.plan, self.jids, self.queue, self.sent = plan, itertools.count(1), collections.deque(), []
        self.has, self.lines = dict.fromkeys(plan, has), {name: [] for name in plan}
        self.interrupt, self.ends = None, KeyboardInterrupt

    def cmd_async(self, tgt, fun, arg, tgt_type, kwarg):
        assert tgt_type == "list"
        jid = str(next(self.jids))
        self.sent.append((tuple(tgt), fun, *arg, *kwarg.get("pillar", {}).values()))
        if self.interrupt and self.interrupt(fun, arg):
            raise self.ends
        for name in tgt:
            if self.plan[name] == "away":
                continue
            self._do(name, jid, fun, arg, kwarg)
        return jid

    def cmd(self, tgt, fun, arg, timeout, tgt_type, kwarg):
        assert (fun, arg, kwarg["test"]) == ("state.apply", ["globoapp"], True)
        would = {"a": {"result": None, "comment": "it would be switched", "changes": {"a": "b"}}}
        return {name: FAILED if self.plan[name] == "sick" else would for name in tgt if self.plan[name] != "away"}

    def _do(self, name, jid, fun, arg, kwarg):
        if fun == "globoapp_minion.deployed":
            answer = {"version": self.has[name], "deploying": None, "jobs": [], "lines": self.lines[name]}
            return self._return(name, jid, answer)
        if arg == ["globoapp.staged"]:
            return self._return(name, jid, FAILED if self.plan[name] == "unfit" else WELL)
        version = kwarg["version"] if fun == "globoapp.rollback" else kwarg["pillar"]["version"]
        well = self.plan[name] != "sick" or fun == "globoapp.rollback"
        line = {"id": jid.zfill(32), "jid": jid, "version": version, "result": "success" if well else "failed"}
        line |= {"probe": {"sent": 7, "failed": 0, "longest_gap_ms": 3}, "duration": 2.0, "host": name}
        self.lines[name].append(line)
        if well:
            self.has[name] = version
        if self.plan[name] != "quiet":
            self.queue.append({"tag": f"globoapp/deploy/{name}", "data": {"id": name, "data": line}})
        # What another one says in its name is not heard.
        forged = {**line, "result": "failed"}
        self.queue.append({"tag": f"globoapp/deploy/{name}", "data": {"id": "web9", "data": forged}})
        if fun == "globoapp.rollback":
            return self._return(name, jid, {"result": True, "comment": "back"})
        return self._return(name, jid, WELL if well else FAILED)

    def _return(self, name, jid, answer):
        self.queue.append({"tag": f"salt/job/{jid}/ret/{name}", "data": {"id": name, "return": answer}})

    def get_event(self, wait, full, auto_reconnect):
        assert full and auto_reconnect
        return self.queue.popleft() if self.queue else None
