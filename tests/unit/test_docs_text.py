"""The handbook hangs together: links lead somewhere, errors have their line, functions have an example."""

import re

import pytest
from documents import (
    CHECKOUT,
    PAGES,
    commands,
    error_texts,
    examples,
    fixed_parts,
    missing,
    public_functions,
    quoted_messages,
    texts,
)
from globolib import settings

MODULES = sorted((CHECKOUT / "salt/_modules").glob("*.py"))
RUNNERS = sorted((CHECKOUT / "salt/_runners").glob("*.py"))
ERRORS = CHECKOUT / "docs/errors.md"
SOURCES = sorted((CHECKOUT / "salt").rglob("*.py"))


def anchors(page):
    """Returns the anchors of a page's headings, as GitHub and GitLab make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_the_tests_that_pages_name_are_there():
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+|tests/[\w/]+\.py)`", page.read_text())}
    files = list((CHECKOUT / "tests").rglob("test_*.py"))
    there = {name for file in files for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)}
    there |= {file.stem for file in files} | {
        str(file.relative_to(CHECKOUT)) for file in (CHECKOUT / "tests").rglob("*.py")
    }
    assert len(named) > 100
    assert sorted(named - there) == []


def test_every_page_is_in_the_index():
    index = (CHECKOUT / "docs/README.md").read_text()
    pages = {page.name for page in PAGES if page.parent.name == "docs"} - {"README.md"}
    assert {name for name in pages if f"]({name})" not in index} == set()


@pytest.mark.parametrize("path", [*MODULES, *RUNNERS], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_public_function_has_an_example(path):
    without = [name for name, text in public_functions(path).items() if not examples(text)]
    assert without == []


def test_every_error_has_its_line():
    """A fixed part of each message stands in docs/errors.md."""
    words = " ".join(ERRORS.read_text().split())
    unknown = []
    for path in SOURCES:
        for line, parts in error_texts(path):
            if not any(known in words for part in parts for known in fragments(part)):
                unknown.append(f"{path.relative_to(CHECKOUT)}:{line}: {parts[0]!r}")
    assert unknown == []


def test_every_line_is_what_the_code_says():
    known = [text for path in SOURCES for text in texts(path)]
    strange = [
        f"{message}: {part!r}"
        for message in quoted_messages(ERRORS)
        for part in fixed_parts(message)
        if not any(part in text for text in known)
    ]
    assert strange == []


def fragments(part):
    """Yields runs of words of a message that are long enough to know it by."""
    for piece in re.split(r"[:;,(]\s*|\n", part):
        piece = " ".join(piece.split())
        if len(piece) >= 8:
            yield piece


def test_every_setting_has_its_line():
    """Settings are named in docs/errors.md, each by its key."""
    page = ERRORS.read_text()
    assert [key for key in (*settings.KNOWN, *settings.SECTIONS) if key not in page] == []


def test_a_shown_line_that_is_not_printed_is_found():
    shown = ["web1:", "...", "    Comment: done after 1.5 s", "  Name: a ..."]
    output = "web1:\n  x\n    Comment: done after 22.75 s\n  Name: a - Result: Clean\n"
    assert missing(shown, output) is None
    assert missing([*shown, "exit code 0"], output + "exit code 1") == "exit code 0"
    assert missing(["b", "a"], "a\nb\n") == "a"


def test_quoted_messages_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("| It says | Do |\n| --- | --- |\n| `a \\| b c`, `d` | `e` |\n\n| Salt says | Do |\n| `f` | g |\n")
    assert list(quoted_messages(page)) == ["a \\| b c", "d"]
    assert list(fixed_parts("port 8000 is taken: ... (process ...) listens on a/b now")) == ["is taken", ") listens on"]


def test_console_blocks_are_read(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```sh\n$ no\n```\n```console\n$ one \\\n    two\nout\n$ three\n```\n$ no\n")
    found = commands(page)
    assert [(one.line, one.text, one.shown) for one in found] == [
        (5, "one \\\n    two", ["out"]),
        (8, "three", []),
    ]
