"""The sentences from made-up scores, and that no number is said which is in no table."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from interpbench.files.csv_files import write_csv
from interpbench.results.run_info import MetricInfo
from interpbench.studies.advise.answer import Answer
from interpbench.studies.advise.findings import Findings, Measured, find
from interpbench.studies.advise.plot import TITLE, draw, front, heading
from interpbench.studies.advise.race import DEAR, FAILED, TIME, WORSE, Dropped
from interpbench.studies.advise.rules import bundled_rules

RULES = bundled_rules()
METRICS = {name: "lower" if name.startswith("deletion") else "higher" for family in RULES.families.values()
           for name in family}  # fmt: skip
VARIANTS = {"deletion:baseline=blur,steps=16": "lower", "mu-fidelity:baseline=blur": "higher"}
ROUNDS = pd.DataFrame(
    [
        {
            "round": "1",
            "images": 40,
            "methods": 5,
            "seconds": 9.0,
            "dropped": 1,
            "ended": "all images were used",
        }
    ]
)


def scores_of(merit: dict[str, float], metrics: dict[str, str], images: int = 40) -> pd.DataFrame:
    """Scores that are the method's merit and noise that is the same by all metrics."""
    rows = []
    for method, value in merit.items():
        noise = np.random.default_rng(sum(map(ord, method))).normal(size=images)
        for metric, better in metrics.items():
            signed = (value + 0.5 * noise) * (-1 if better == "lower" else 1)
            rows += [
                {"method": method, "metric": metric, "sample_id": f"i{i}", "value": v}
                for i, v in enumerate(signed)
            ]
    return pd.DataFrame(rows)


def measured(
    merit: dict[str, float],
    *,
    images: int = 40,
    dropped: tuple[Dropped, ...] = (),
    verdicts: dict[str, tuple[str, str]] | None = None,
    settings: bool = True,
) -> Measured:
    """Methods of one letter and a digit with so much merit; `random` and `sobel` are controls."""
    gone = {each.method: each for each in dropped}
    unscored = {name for name, each in gone.items() if each.why == FAILED}
    scores = scores_of({k: v for k, v in merit.items() if k not in unscored}, METRICS, images)
    finalists = [name for name in merit if name not in gone and name not in ("random", "sobel")]
    if settings:
        of_finalists = {k: merit[k] for k in [*finalists, "random", "sobel"] if k in merit}
        scores = pd.concat([scores, scores_of(of_finalists, VARIANTS, images)])
    cells = pd.DataFrame(
        [
            {
                "method": name, "role": "control" if name in ("random", "sobel") else "method",
                "status": "failed" if name in unscored else "ok",
                "reason": gone[name].reason if name in unscored else "",
                "map_seconds": 0.01 * (1 + number), "scoring_seconds": 1.0, "images": 0 if name in unscored else images,
            }
            for number, name in enumerate(merit)
        ]
    )  # fmt: skip
    sanity = pd.DataFrame(
        [
            {
                "method": name,
                "all_layers": 0.123,
                "random_logit": -0.456,
                "model": model,
                "class": of_class,
            }
            for name, (model, of_class) in (verdicts or {}).items()
        ]
    )
    return Measured(
        scores=scores,
        metrics={name: MetricInfo(better=better) for name, better in (METRICS | VARIANTS).items()},
        cells=cells,
        finalists=finalists,
        rivals=finalists,
        dropped=gone,
        settings=[*METRICS, *VARIANTS] if settings else [],
        sanity=sanity,
        sanity_images=8 if verdicts else 0,
        passes=dict.fromkeys(finalists, (1.0, 1.0, 0.0)),
        rounds=ROUNDS,
    )


GOOD = ("sensitive", "sensitive")
UNSOUND = {"a1": ("INSENSITIVE", "sensitive")}
CLEAR = {"a1": 3.0, "b2": 1.5, "c3": 0.0, "random": -3.0, "sobel": -2.0}
LEVEL = {"a1": 2.0, "b2": 2.0, "c3": 2.0, "random": -3.0, "sobel": -2.0}
NOTHING = {"a1": 0.0, "b2": 0.0, "random": 0.0, "sobel": 0.0}
DROPPED = (
    Dropped("b2", WORSE, "shown to be worse than a1"),
    Dropped("c3", TIME, "among the worse half when time ran short"),
    Dropped("d4", DEAR, "would take too much of the budget"),
    Dropped("e5", FAILED, "RuntimeError: 7 heads"),
)
CASES = {
    "clear": measured(CLEAR, verdicts=dict.fromkeys(["a1", "b2", "c3"], GOOD)),
    "level": measured(LEVEL, verdicts=dict.fromkeys(["a1", "b2", "c3"], GOOD)),
    "nothing": measured(NOTHING),
    "unsound": measured(CLEAR, verdicts=UNSOUND | {"b2": GOOD, "c3": ("sensitive", "undecided")}),
    "all unsound": measured({"a1": 3.0, "random": 0.0}, verdicts=UNSOUND),
    "no controls": measured({"a1": 3.0, "b2": 0.0}, verdicts={"a1": GOOD, "b2": GOOD}),
    "few images": measured(CLEAR, images=4, settings=False),
    "beside a control": measured(
        CLEAR | {"b2": -2.0}, verdicts=dict.fromkeys(["a1", "b2", "c3"], GOOD)
    ),
    "dropped": measured(CLEAR | {"d4": 1.0, "e5": 1.0}, dropped=DROPPED, verdicts={"a1": GOOD}),
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, Findings]:
    return {name: find(case, RULES) for name, case in CASES.items()}


def test_the_best_is_recommended_alone(found: dict[str, Findings]) -> None:
    assert found["clear"].recommended == ("a1",)
    lines = Answer(found["clear"]).lines
    assert lines[0].startswith("Use a1: ")
    assert (
        lines[2] == "A map takes: a1 0.2 ms (1 forward and 1 backward passes)."
    )  # 0.01 s of 40 images
    assert lines[3] == (
        "Sanity checks, by the maps' rank correlation on 8 images: "
        "a1 passes (0.12 with new weights, -0.46 for another class)."
    )
    assert lines[4].startswith("a1 ranks first under 7 of 7 settings")


def test_of_those_that_are_level_the_cheapest_is_named(found: dict[str, Findings]) -> None:
    assert found["level"].recommended == ("a1", "b2", "c3")  # by their time
    assert Answer(found["level"]).lines[0] == (
        "Use one of these 3, which 40 images do not tell apart: a1, b2, c3; the cheapest is a1."
    )


def test_what_is_not_better_than_a_control_is_not_recommended(found: dict[str, Findings]) -> None:
    for case in ("nothing", "few images", "no controls", "all unsound"):
        assert found[case].recommended == ()
        assert Answer(found[case]).lines[0].startswith("Undecided: "), case
    assert "than the control " in Answer(found["nothing"]).lines[0]
    assert "no control was scored" in Answer(found["no controls"]).lines[0]


def test_what_fails_sanity_is_passed_over(found: dict[str, Findings]) -> None:
    assert found["unsound"].leader == "b2"
    lines = Answer(found["unsound"]).lines
    assert lines[0].startswith("Use b2: ")
    assert any(line.startswith("Do not use: a1 (fails the sanity checks)") for line in lines)


def test_why_each_is_out_is_said(found: dict[str, Findings]) -> None:
    said = "\n".join(Answer(found["dropped"]).lines)
    assert "Do not use: e5 (failed, or does not apply); 1 more was" in said
    assert "Not answered: d4 (too slow for the budget); c3 (left behind for time" in said
    assert "There was no time for other settings." in Answer(found["few images"]).lines
    assert "There was no time for the sanity checks." in Answer(found["few images"]).lines


def test_what_is_level_with_a_control_is_no_answer_rather_than_bad(
    found: dict[str, Findings],
) -> None:
    said = "\n".join(Answer(found["beside a control"]).lines)
    assert "Not answered: b2 (not shown to be better than a control)" in said
    assert "Do not use" not in said


def test_what_more_images_would_tell_is_said(found: dict[str, Findings]) -> None:
    pairs = found["few images"].tables["pairs.csv"].set_index(["method", "other"])
    control = found["few images"].tables["summary.csv"].set_index("key").loc["best control", "text"]
    needed = int(pairs.loc[("a1", control), "images_needed"])
    assert f"by about {needed} images" in Answer(found["few images"]).lines[-1]


@pytest.mark.parametrize("case", CASES)
def test_each_number_is_in_the_cell_that_its_claim_names(
    case: str, found: dict[str, Findings], tmp_path: Path
) -> None:
    answer = Answer(found[case])
    assert 0 < len(answer.lines) <= 10
    for name, table in found[case].tables.items():
        write_csv(table, tmp_path / name)
    check_claims(answer.table, answer.lines, tmp_path)


def check_claims(claims: pd.DataFrame, lines: tuple[str, ...], folder: Path) -> None:
    """Reads each claim's cell from the file, and looks for digits that no claim accounts for."""
    texts = {number: "".join(rows["text"]) for number, rows in claims.groupby("line")}
    assert tuple(texts.values()) == lines
    for claim in claims.to_dict("records"):
        rest = claim["text"]
        if claim["table"]:
            table = pd.read_csv(folder / claim["table"], dtype=str, keep_default_na=False)
            [row] = table[table.iloc[:, 0] == claim["key"]].to_dict("records")
            cell = row[claim["column"]]
            assert claim["shown"] in rest
            assert agrees(claim["shown"], cell), claim
            rest = rest.replace(claim["shown"], "", 1)
        assert not re.search(r"\d", rest), claim


def agrees(shown: str, cell: str) -> bool:
    """Whether what is shown is the cell, to as many digits as are shown."""
    if not re.fullmatch(r"-?[\d.]+(e-\d+)?%?", shown):
        return shown == cell
    value = float(cell) * (100 if shown.endswith("%") else 1)
    digits = shown.rstrip("%")
    if "e" in digits or re.match(r"0\.0*[1-9]", digits):  # significant ones
        return float(f"{value:.2g}") == float(digits) or round(
            value, len(digits.split(".")[-1])
        ) == float(digits)
    decimals = len(digits.split(".")[1]) if "." in digits else 0
    return round(value, decimals) == float(digits)


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    methods = pd.DataFrame(
        {"method": list("abcd"), "wins": [0.5, 0.9, 0.8, 0.4], "ms": [1.0, 10.0, 20.0, 2.0]}
    )
    assert front(methods) == ["a", "b"]


def test_a_long_name_of_the_data_does_not_run_out_of_the_picture() -> None:
    name = "resnet18 on imagefolder:root=/somewhere/" + "far/" * 40 + ",name=cifar10,split=test"
    lines = heading(name).split("\n")
    assert len(lines) == 2
    assert all(TITLE.width(line) < 6.5 for line in lines)
    assert heading("resnet18 on planted") == "resnet18 on planted: wins against the time of a map"


def test_the_picture_is_the_same_each_time(found: dict[str, Findings], tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw(found["dropped"], "title", tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 10_000
