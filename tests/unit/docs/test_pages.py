"""Pages hang together: links lead somewhere, every page can be found, commands that are named exist."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from beamstream.cli.function import PLACEHOLDER
from beamstream.cli.root import app

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    path
    for path in (
        ROOT / "README.md",
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("ops/*.md"),
        *ROOT.glob("examples/*/README.md"),
    )
    if path.exists()
)
UNITS = sorted(ROOT.glob("ops/*.service"))

_LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
_CODE_LINE = re.compile(r"^(?: {4}|\$ )?(?:ExecStart=/opt/beamstream/bin/)?(stream (?! ).*)$", re.MULTILINE)
_CODE_WORDS = re.compile(r"`(stream [^`]+)`")
_QUOTED = re.compile(r"^```py (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ENTRY_POINT = re.compile(r'^(\w+) = "\w+:\w+"$', re.MULTILINE)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def links_of(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield target and anchor of each link that stays in the repository, as far as that part of it is here."""
    for target in _LINK.findall(page.read_text("utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        path = (page.parent / file).resolve() if file else page
        assert path.is_relative_to(ROOT), f"{target} leaves the repository"
        if (ROOT / path.relative_to(ROOT).parts[0]).exists():
            yield path, anchor


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that the headings of a page have on GitHub."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def options_of(command: Any) -> dict[str, Any]:
    return {name: param for param in command.params for name in (*param.opts, *param.secondary_opts) if name[0] == "-"}


def find_unknown(line: str, own_commands: set[str]) -> str | None:
    """Return the first word of a command line that `stream` does not know, None if it knows all."""
    command: Any = typer.main.get_command(app)
    words = iter(shlex.split(line.partition(" # ")[0])[1:])
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("-"):
            if name != "--help" and name not in options_of(command):
                return word
            if name != "--help" and not getattr(options_of(command)[name], "is_flag", False):
                next(words, None)
        elif hasattr(command, "list_commands"):
            if word in own_commands:
                return None
            of_user = ":" in word and PLACEHOLDER in command.list_commands(None)
            if word not in command.list_commands(None) and not of_user:
                return word
            command = command.get_command(None, word)
    return None


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in links_of(page):
        assert path.exists(), f"{named(page)} links to {path}"
        assert not anchor or anchor in anchors_of(path), f"{named(page)} links to {anchor} in {path}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_what_is_quoted_from_a_file_stands_in_it(page: Path) -> None:
    for file, text in _QUOTED.findall(page.read_text("utf-8")):
        if not (ROOT / Path(file).parts[0]).exists():
            continue  # an installation without the examples
        there = (ROOT / file).read_text("utf-8")
        method = textwrap.indent(text, "    ")  # quoted without its class
        assert text in there or method in there, f"{named(page)} quotes {text[:60]!r}…"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, new = set(), {ROOT / "README.md"}
    if not (ROOT / "README.md").exists():
        pytest.skip("the README is not here")
    while new:
        reached |= new
        new = {path for page in new for path, _ in links_of(page) if path.suffix == ".md"} - reached
    assert not {path for path in PAGES if path not in reached}


@pytest.mark.parametrize("page", PAGES + UNITS, ids=named)
def test_every_command_that_is_named_exists_with_its_options(page: Path) -> None:
    text = page.read_text("utf-8")
    own_commands = set(_ENTRY_POINT.findall(text))
    lines = _CODE_LINE.findall(text) + [" ".join(words.split()) for words in _CODE_WORDS.findall(text)]
    unknown = {line: word for line in lines if (word := find_unknown(line, own_commands)) is not None}
    assert not unknown


def test_a_command_that_does_not_exist_is_found() -> None:
    assert find_unknown("stream consume write bt/det/run --nonsense", set()) == "--nonsense"
    assert find_unknown("stream consume mine:function bt/det/run --nonsense", set()) == "--nonsense"
    assert find_unknown("stream produce mine:function bt/det/run", set()) == "mine:function"
    assert find_unknown("stream consume eat bt/det/run", set()) == "eat"
    assert find_unknown("stream --broker unix:///x consume write bt/det/run -d /data --verify", set()) is None
