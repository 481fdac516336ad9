"""Curves as rows of lists: what they hold, what they take on disk, and runs of before."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpbench.results import curves
from interpbench.suite.cells import CURVE_COLUMNS


def table(images: int, points: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    labels = {
        "dataset": "d",
        "model": "m",
        "method": "x",
        "metric": "deletion",
        "protocol": "0" * 12,
    }
    return pd.DataFrame(
        {
            **labels,
            "sample_id": [f"photo-{i:06d}.JPEG" for i in range(images)],
            "fraction": [np.linspace(0, 1, points)] * images,
            "value": list(rng.random((images, points), np.float32)),
        }
    )[CURVE_COLUMNS]


def same(found: pd.DataFrame, expected: pd.DataFrame) -> bool:
    labels = CURVE_COLUMNS[:-2]
    return found[labels].equals(expected[labels].astype(found[labels].dtypes.to_dict())) and all(
        np.array_equal(a, b)
        for name in ("fraction", "value")
        for a, b in zip(found[name], expected[name], strict=True)
    )


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 99))
def test_what_is_written_is_read(images: int, points: int, seed: int) -> None:
    written = table(images, points, seed)
    found = curves.read(curves.content_of(written))
    assert same(found, written)
    assert found["value"].iloc[0].dtype == np.float32
    assert found["fraction"].iloc[0].dtype == np.float64


def test_a_row_a_point_has_every_number_in_order() -> None:
    wide = table(3, 4)
    found = curves.points(wide)
    assert found.columns.tolist() == [*CURVE_COLUMNS[:-2], "step", "fraction", "value"]
    assert found["step"].tolist() == [0, 1, 2, 3] * 3
    assert found["value"].tolist() == np.concatenate(wide["value"].tolist()).tolist()
    assert found["sample_id"].tolist() == np.repeat(wide["sample_id"], 4).tolist()


def test_curves_of_different_lengths_keep_theirs() -> None:
    both = pd.concat([table(2, 3), table(1, 5)], ignore_index=True)
    assert same(curves.read(curves.content_of(both)), both)
    assert len(curves.points(both)) == 2 * 3 + 5


def test_a_run_of_before_is_read() -> None:
    """It had a row a point."""
    wide = table(4, 6)
    buffer = io.BytesIO()
    curves.points(wide).sample(frac=1, random_state=0).sort_values(
        "sample_id", kind="stable"
    ).to_parquet(buffer, index=False)
    assert same(curves.read(buffer.getvalue()), wide)


def test_a_file_written_in_parts_holds_all_of_them(tmp_path: Path) -> None:
    with curves.CurvesFile(tmp_path / "curves.parquet") as file:
        file.write(table(2, 3, seed=0))
        file.write(table(3, 3, seed=1))
    both = pd.concat([table(2, 3, seed=0), table(3, 3, seed=1)], ignore_index=True)
    assert same(curves.read((tmp_path / "curves.parquet").read_bytes()), both)


def test_none_are_none() -> None:
    found = curves.read(curves.content_of(pd.DataFrame(columns=CURVE_COLUMNS)))
    assert found.empty
    assert found.columns.tolist() == CURVE_COLUMNS
    assert curves.points(found).empty


def test_a_point_takes_five_bytes_at_most() -> None:
    """Of numbers by lot, which nothing can press together."""
    assert len(curves.content_of(table(2000, 65))) <= 5 * 2000 * 65


def test_something_else_is_refused() -> None:
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(buffer)
    with pytest.raises(ValueError, match="its columns are a"):
        curves.read(buffer.getvalue())
    buffer = io.BytesIO()
    table(2, 3).assign(value=["a", "b"]).to_parquet(buffer)
    with pytest.raises(ValueError, match="its column value is of type"):
        curves.read(buffer.getvalue())
