"""What the handbook and the docstrings promise: pages, their console blocks, the examples of public functions."""

import ast
import pathlib
import re
from dataclasses import dataclass, field

CHECKOUT = pathlib.Path(__file__).parents[2]
PAGES = [CHECKOUT / "README.md", CHECKOUT / "lab/README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]

# What differs from run to run: times, job ids and digests, durations and counts, processes.
VOLATILE = [
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z?"), "TIME"),
    (re.compile(r"\b[0-9a-f]{12,64}\b"), "HEX"),
    (re.compile(r"\b\d+(\.\d+)?(?= (s|ms|requests)\b)"), "NUMBER"),
    (re.compile(r"\bprocess \d+"), "process NUMBER"),
]


@dataclass
class Command:
    """A command of a console block: where it stands, the shell's text, the lines that are shown under it."""

    line: int
    text: str
    shown: list = field(default_factory=list)


def commands(page):
    """Returns the Commands of a page's console blocks, in order."""
    found, inside = [], False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append(Command(number, line[2:]))
        elif inside and found[-1].text.endswith("\\"):
            found[-1].text += "\n" + line
        elif inside:
            found[-1].shown.append(line)
    return found


def plain(line):
    """Returns a line without what differs from run to run."""
    for pattern, word in VOLATILE:
        line = pattern.sub(word, line)
    return line.rstrip()


def missing(shown, output):
    """Returns the first shown line (str) that the output does not have in its place; None when it has all.

    A shown line `...` stands for any number of lines, and ` ...` at a line's end for the rest of it.
    """
    rest = iter([plain(line) for line in output.splitlines()])
    for line in shown:
        if line.strip() in ("...", ""):
            continue
        wanted = plain(line)
        begins = wanted.removesuffix(" ...")
        if not any(one == wanted or (begins != wanted and one.startswith(begins)) for one in rest):
            return line
    return None


def public_functions(path):
    """Returns {name: docstring or None} of the public functions of a Python file."""
    body = ast.parse(path.read_text()).body
    return {
        each.name: ast.get_docstring(each)
        for each in body
        if isinstance(each, ast.FunctionDef) and not each.name.startswith("_")
    }


def examples(docstring):
    """Returns the command lines (list of str) of a docstring's CLI Example."""
    _, _, text = (docstring or "").partition("CLI Example:")
    return [line.strip() for line in text.splitlines() if line.strip().startswith("salt")]


def error_texts(path):
    """Yields (line, [fixed parts]) of each error that a Python file raises for people to read."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("CommandExecutionError", "Failure")):
            continue
        parts = [
            part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
        ]
        if any(re.search(r"[a-z]{3,} [a-z]{2,}", part) for part in parts):  # more than a name and a number
            yield node.lineno, parts


def texts(path):
    """Returns the fixed parts of all strings of a Python file, without its docstrings."""
    tree = ast.parse(path.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        " ".join(node.value.split())
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]


def quoted_messages(page):
    """Yields the messages that a page's tables say to be ours: code in the first column below "It says"."""
    inside = False
    for line in page.read_text().splitlines():
        if not line.startswith("| "):
            inside = False
        elif re.match(r"\| (It says|And the reason) \|", line):
            inside = True
        elif inside:
            first = re.split(r"(?<!\\)\|", line)[1]
            yield from re.findall(r"`([^`]+)`", first)


def fixed_parts(message):
    """Yields the runs of words of a quoted message that are the same each time: no `...`, number, path or file."""
    for piece in re.split(r"\.\.\.|\S*[\d/.]\S*|[:;,]\s|\(", message):
        if len(piece.split()) > 1:
            yield " ".join(piece.split())
