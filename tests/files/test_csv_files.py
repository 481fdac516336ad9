"""CSV files that are read back as they were written and that no spreadsheet runs."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interpbench.files import csv_files
from interpbench.files.csv_files import read_csv, write_csv

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12) | st.sampled_from(
    ["=1+1", "'=1", "''-x", "@SUM(A1)", "+4", "-4", "NA", "nan", "", "a,b", 'a"b', "'quoted'"]
)


@given(st.lists(TEXT, min_size=1, max_size=8))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None
)
def test_text_comes_back_as_it_was_and_starts_no_formula(tmp_path: Path, texts: list[str]) -> None:
    frame = pd.DataFrame({"text": texts, "number": range(len(texts))})
    write_csv(frame, tmp_path / "a.csv")
    raw = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
    assert not raw["text"].str.startswith(("=", "+", "-", "@", "\t", "\r")).any()
    back = read_csv(tmp_path / "a.csv", {"text": "str", "number": "int64"})
    assert back["text"].tolist() == texts
    write_csv(back, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@given(st.lists(TEXT, min_size=1, max_size=8), st.integers(1, 9))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
def test_categories_are_written_as_the_texts_that_they_are(
    tmp_path: Path, texts: list[str], part: int
) -> None:
    """The same bytes as pandas writes of the texts, in parts of any size; and read as categories again."""
    count = len(texts)
    numbers = np.resize([0.1, np.nan, -0.0, 1e-7 / 3, 123456789.123, np.inf, 2 / 3], count)
    frame = pd.DataFrame(
        {
            "text": texts,
            "%s": texts[::-1],
            "plain": texts,
            "one": "100 %d",
            "value": numbers,
            "rank": pd.array([None, *range(count - 1)], dtype="Int64"),
            "label": np.arange(count),
        }
    )
    write_csv(frame, tmp_path / "texts.csv")
    labels = ["text", "%s", "one"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "_PART", part)
        write_csv(frame.astype(dict.fromkeys(labels, "category")), tmp_path / "labels.csv")
    assert (tmp_path / "labels.csv").read_bytes() == (tmp_path / "texts.csv").read_bytes()
    types = dict.fromkeys(labels, "category") | {"plain": "str", "value": "float64"}
    back = read_csv(tmp_path / "labels.csv", types | {"rank": "Int64", "label": "int64"})
    assert [back[name].tolist() for name in labels] == [frame[name].tolist() for name in labels]


@pytest.mark.parametrize("texts", [["0", "1"], ["007", "7"], ["1e3", "1000"], ["nan", "inf"], [""]])
def test_labels_that_look_like_numbers_stay_texts(texts: list[str], tmp_path: Path) -> None:
    write_csv(pd.DataFrame({"label": texts, "value": 0.5}), tmp_path / "a.csv")
    back = read_csv(tmp_path / "a.csv", {"label": "category", "value": "float64"})
    assert back["label"].tolist() == texts


def test_missing_numbers_come_back_as_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame({"value": [0.1, float("nan")], "rank": pd.array([1, None], dtype="Int64")})
    write_csv(frame, tmp_path / "a.csv")
    pd.testing.assert_frame_equal(
        read_csv(tmp_path / "a.csv", {"value": "float64", "rank": "Int64"}), frame
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,c\n1,2\n", "its columns are a, c; expected a, b"),
        (b"a,b\n1,x\n", "no table of this kind"),
        (b"a,b\n1,2,3\n4,5,6,7\n", "no table of this kind"),
        (b"", "no table of this kind"),
        (b"\xff\xfe\x00a,b", "no table of this kind"),
    ],
)
def test_what_is_no_such_table_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_csv(tmp_path / "a.csv", {"a": "str", "b": "float64"})
