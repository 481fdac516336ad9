"""The blocks of the documentation: where they stand, what is in them, and what is to become of them.

A comment in the line above a block says what; without one it runs in small, as all of `SMALL` in `running.py`.

    <!-- slow: WHY -->              is held against the command line; runs with `-m slow` alone
    <!-- not run: WHY -->           is held against the command line; cannot run here
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.paths import ROOT

DOCS = ROOT / "docs"
LANGUAGES = ("bash", "python", "toml", "json", "text")
MARKS = ("slow", "not run")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
_INFO = re.compile(r'^(?P<language>\w*)(?: title="(?P<title>[^"]+)")?$')
_COMMENT = re.compile(r"^<!-- (?P<mark>[a-z ]+?)(?:: (?P<why>.+))? -->$")


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        page: below `docs/`, such as `how-to/train.md`.
        line: of its first line within the page.
        language: what it is written in.
        title: the name of the file that it is; "" where it is none.
        mark: what is to become of it, of `MARKS`; "" where nothing is said.
        why: the reason.
        text: what is in it.
    """

    page: str
    line: int
    language: str
    title: str
    mark: str
    why: str
    text: str

    @property
    def is_slow(self) -> bool:
        return self.mark == "slow"

    @property
    def cannot_run(self) -> bool:
        return self.mark == "not run"

    def __str__(self) -> str:
        return f"docs/{self.page}:{self.line}"


PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: for a block whose first line or comment is not understood.
    """
    return list(_blocks(page, (DOCS / page).read_text(encoding="utf-8").splitlines()))


def _blocks(page: str, lines: list[str]) -> Iterator[Block]:
    opened: tuple[int, re.Match[str], re.Match[str]] | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if fence is None:
            continue
        if opened is None:
            info = _INFO.match(fence["info"])
            if info is None:
                raise ValueError(
                    f"docs/{page}:{number + 1}: {line!r} opens no block that is known."
                )
            opened = (number, fence, info)
            continue
        start, first, info = opened
        comment = _COMMENT.match(lines[start - 1]) if start else None
        yield Block(
            page=page,
            line=start + 2,
            language=info["language"],
            title=info["title"] or "",
            mark=comment["mark"] if comment else "",
            why=(comment["why"] or "") if comment else "",
            text="\n".join(each.removeprefix(first["indent"]) for each in lines[start + 1 : number])
            + "\n",
        )
        opened = None
    if opened is not None:
        raise ValueError(f"docs/{page}: the block in line {opened[0] + 1} does not end.")
