"""The page as HTML: closed to the network and to what names may hold, small, and the same each time."""

import hashlib
import json
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from interpbench.core.errors import RunFolderError
from interpbench.report.page.render import page, write_page
from interpbench.results.cost import cost
from interpbench.results.judged_metrics import BUNDLED, judged
from interpbench.results.run_info import CardRecord, MetricInfo
from tests.report.page.pages import HOSTILE, INFO, board_evidence, run_evidence

VOID = {"meta", "link", "br", "wbr", "input", "img"}


class Tags(HTMLParser):
    """All tags of a page with their attributes, its texts, and whether every tag is closed in turn."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.content: dict[str, list[str]] = {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(attrs) == len(dict(attrs)), f"an attribute twice in {tag}"
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.content.setdefault(self.open[-1] if self.open else "", []).append(data)


@pytest.fixture(scope="module")
def text() -> str:
    return page(
        run_evidence(models=("a", "b"), images=12, failed=("sobel",), constant={"center": 2})
    )


@pytest.fixture(scope="module")
def tags(text: str) -> Tags:
    return Tags(text)


def test_every_tag_is_closed_and_every_id_unique(tags: Tags) -> None:
    assert tags.open == []
    ids = [attributes["id"] for _, attributes in tags.found if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_references_stay_in_the_page(tags: Tags) -> None:
    ids = {attributes["id"] for _, attributes in tags.found if "id" in attributes}
    for tag, attributes in tags.found:
        assert "src" not in attributes
        target = attributes.get("href")
        if target is not None:
            assert target.startswith("data:") if tag in ("link", "image") else target[1:] in ids
    described = [a[key] for _, a in tags.found for key in ("aria-labelledby",) if key in a]
    assert set(described) <= ids


def test_the_policy_allows_the_pages_own_style_and_script_and_no_more(
    text: str, tags: Tags
) -> None:
    [policy] = [
        a["content"] for tag, a in tags.found if a.get("http-equiv") == "Content-Security-Policy"
    ]
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)

    def hashed(content: str) -> str:
        return f"'sha256-{b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    assert rules == {
        "default-src": "'none'", "img-src": "data:", "style-src": hashed(style), "script-src": hashed(script),
        "base-uri": "'none'", "form-action": "'none'",
    }  # fmt: skip
    for _, attributes in tags.found:
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)


def test_numbers_of_the_leaderboard_are_in_the_page(text: str) -> None:
    evidence = run_evidence(models=("a", "b"), images=12, failed=("sobel",), constant={"center": 2})
    for row in evidence.scored.itertuples():
        assert f"{row.mean:.3f}" in text
        assert f"[{row.low:.3f}, {row.high:.3f}]".replace("-", "−") in text
    assert text.count('<tr data-m="') == len(evidence.board) + len(evidence.methods)
    assert "RuntimeError: sobel met a layer that it does not know" in text
    assert "2 constant" in text


def test_the_page_says_what_the_suite_is_and_how_well_the_models_were_trained() -> None:
    settings = {
        "settings": INFO["settings"] | {"description": "Planted objects, <exactly> masked."}
    }
    run = run_evidence(info=settings, models=("a", "b", "c"), images=12)
    assert run.tables is not None
    notes = {
        "a": {"accuracy": "0.9875", "tested_on": "2000 images"},
        "b": {"accuracy": "good", "tested_on": "<all>"},
    }
    models = {
        key: about.model_copy(update={"card": CardRecord(notes=notes.get(key[1], {}))})
        for key, about in run.tables.models.items()
    }
    text = page(replace(run, tables=replace(run.tables, models=models)))
    assert "The suite quick: Planted objects, &lt;exactly&gt; masked." in text
    assert "(98.75\u202f% on 2000 images)" in text
    assert "(good on &lt;all&gt;)" in text
    assert "Accuracy (after training)</th>" in text


def test_protocol_and_provenance_are_in_the_page(text: str) -> None:
    parts = [
        "f0f1ad08dfed",
        "python -m interpbench run --images 24",
        "d58f1566a5eafc401ac96ff016797bf990f67470",
    ]
    parts += [
        "torch 2.15.0",
        "23fa977d",
        "171d67bf",
        "planted-1",
        "image-001",
        "parameter baseline: zero",
    ]
    for part in parts:
        assert part in text
    for metric in run_evidence(images=12).metrics.values():
        assert metric["protocol"] in text


def test_what_methods_cost_is_a_table_of_a_run_alone() -> None:
    run = run_evidence(models=("a", "b"), images=4, metrics=("deletion",), failed=("sobel",))
    text = page(run)
    costs = text[
        text.index('<section id="cost"') : text.index("</section>", text.index('id="cost"'))
    ]
    assert run.tables is not None
    for row in cost(run.tables).itertuples():
        assert f'<td class="num">{row.milliseconds_rank}</td>' in costs
        assert f'<td class="num">{row.milliseconds:.1f}</td>' in costs
    assert costs.count("<tr") == 1 + len(cost(run.tables))
    assert "Peak MB" not in costs
    timings = run.tables.timings.assign(peak_memory=7_250_000)
    measured = page(replace(run, tables=replace(run.tables, timings=timings)))
    assert "Peak MB" in measured
    assert '<td class="num">7.2</td>' in measured
    assert 'id="cost"' not in page(board_evidence(("a", "deletion", "x", 0.1, 1, "a")))


def test_hostile_names_are_text() -> None:
    text = page(
        run_evidence(
            methods=HOSTILE,
            models=HOSTILE[:2],
            dataset=HOSTILE[2],
            metrics=("deletion",),
            images=10,
        )
    )
    tags = Tags(text)
    assert tags.open == []
    scripts = [a for tag, a in tags.found if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]
    assert not [tag for tag, _ in tags.found if tag == "img"]
    assert not [a for _, a in tags.found if any(key.startswith("on") for key in a)]
    shown = "".join("".join(parts) for tag, parts in tags.content.items() if tag != "script")
    for name in HOSTILE:
        assert name in shown
    data = json.loads(tags.content["script"][0])
    assert data["methods"] == sorted(HOSTILE)


def test_a_leaderboard_alone_makes_a_page_of_what_it_holds() -> None:
    evidence = board_evidence(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b")
    )
    text = page(evidence)
    ids = {a["id"] for _, a in Tags(text).found if "id" in a}
    assert {"answer", "leaderboard", "record"} <= ids
    assert not {"curves", "gallery", "ranks"} & ids
    assert "x was shown to be better than every other method" in text


def test_a_run_in_which_everything_failed_makes_a_page() -> None:
    text = page(run_evidence(methods=("a", "b"), failed=("a", "b"), ceiling=False, images=10))
    assert Tags(text).open == []
    assert "Nothing was scored" in text
    assert "RuntimeError: a met a layer" in text


def test_one_image_and_one_method_make_a_page() -> None:
    assert "Nothing can be told apart here" in page(
        run_evidence(methods=("a",), images=1, ceiling=False, masks=False)
    )


def test_of_many_methods_only_the_best_and_the_controls_stand_out() -> None:
    methods = (*(f"method-{i:02d}" for i in range(12)), "random")
    text = page(run_evidence(methods=methods, metrics=("deletion",), images=10))
    muted = set(re.findall(r"\.curve\.m(\d+):not\(\.lit\)", text))
    assert len(muted) == 6
    assert str(sorted(methods).index("random")) not in muted


def test_a_metric_that_was_judged_by_the_same_protocol_says_so() -> None:
    judged_ones = pd.read_csv(BUNDLED, dtype={"protocol": str}).dropna(subset=["orders"])
    protocol = judged_ones["protocol"].iloc[0]
    evidence = board_evidence(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b")
    )
    known = replace(evidence, metrics={"deletion": MetricInfo(better="lower", protocol=protocol)})
    found = judged(protocol)
    assert found is not None
    assert f"Where the truth is known, this metric {found.text}." in page(known)
    assert "Where the truth is known" not in page(evidence)
    other = replace(evidence, metrics={"deletion": MetricInfo(better="lower", protocol="0" * 12)})
    assert "Where the truth is known" not in page(other)


def test_the_same_run_gives_the_same_bytes(text: str, tmp_path: Path) -> None:
    evidence = run_evidence(models=("a", "b"), images=12, failed=("sobel",), constant={"center": 2})
    file = write_page(evidence, tmp_path / "new" / "page.html")
    assert file.read_bytes() == text.encode()


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    evidence = board_evidence(("a", "deletion", "x", 0.1, 1, "a"))
    with pytest.raises(RunFolderError, match="Cannot write"):
        write_page(evidence, tmp_path / "file" / "page.html")


def test_what_steers_a_terminal_is_spelled_out_on_the_page() -> None:
    name = "a\x1b[2J\x9b\u202eb"
    evidence = board_evidence(
        ("r", "deletion", name, 0.1, 1, "a"), ("r", "deletion", "c", 0.2, 2, "b"), dataset=name
    )
    text = page(evidence)
    assert not set(text) & {"\x1b", "\x9b", "\u202e"}
    assert r"a\x1b[2J\x9b\u202eb" in text
