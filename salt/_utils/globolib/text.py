"""
Text from outside (logs, answers, event data) is bytes until it has been through here: then it is plain, printable
text that a terminal, YAML, JSON and a webhook take without harm.
"""

import re

# C0 and C1 control characters and DEL, but for the tabulator; surrogates; what Unicode uses to reorder or hide text;
# line and paragraph separators, which YAML takes for the end of a line.
_HARMFUL = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
# Terminal escapes, as whole sequences: what is left of them would be noise.
_ESCAPE = re.compile("(\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(\x07|\x1b\\\\)?|\x1b[@-Z\\\\^_`-~]")


def line(raw: bytes | str, limit: int = 1000) -> str:
    """One harmless line: bytes as UTF-8, what is none replaced, controls as ``?``, at most ``limit`` characters."""
    decoded = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    harmless = _HARMFUL.sub("?", _ESCAPE.sub("", decoded.replace("\r\n", " ").replace("\n", " ").replace("\r", " ")))
    return harmless if len(harmless) <= limit else harmless[: limit - 3] + "..."


def lines(raw: bytes | str, most: int = 200, limit: int = 1000) -> list[str]:
    """The last ``most`` lines, each as :func:`line` makes it."""
    decoded = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    return [line(one, limit) for one in decoded.removesuffix("\n").split("\n")[-most:]] if decoded else []
