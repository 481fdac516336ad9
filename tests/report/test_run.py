"""A run as it shows itself: short in print, a table in a notebook, one of its pictures as a figure."""

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

import interpbench
from interpbench.core.errors import ParameterError, UnknownNameError
from interpbench.report.verdict.evidence import of_run
from interpbench.report.verdict.verdict import verdict
from tests.in_memory import BYTES, KEYWORDS, LABELS, QUICK, gradient, network
from tests.picture_commands import draw_coarsely


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> interpbench.Run:
    def broken(model: object, x: object, target: object) -> None:
        raise ValueError("<b>no</b>")

    return interpbench.run(
        model=network(), method=[gradient, "random", broken], images=BYTES, labels=LABELS,
        output=tmp_path_factory.mktemp("run") / "run", **QUICK,
    )  # fmt: skip


def test_print_is_the_verdict_and_what_failed(run: interpbench.Run) -> None:
    found = verdict(of_run(run))
    assert found.headline == "With 4 images and 2 methods no difference can be shown"
    assert repr(run) == str(run) == "\n".join(
        [
            f"Run of quick: 3 cells, 1 of them failed, in {run.folder}",
            *found.lines,
            f"failed: broken: {run.failed.iloc[0]['reason']}",
        ]
    )  # fmt: skip
    assert repr(interpbench.load_run(run.folder)) == repr(run)


def test_a_notebook_shows_the_leaderboard_and_nothing_of_it_is_markup(run: interpbench.Run) -> None:
    html = run._repr_html_()
    for row in run.leaderboard.dropna(subset="mean").itertuples():
        assert f"<th>{row.method}</th>" in html
        assert f"{row.mean:.3f}" in html
    assert "<caption>Net on tensors, accuracy" in html
    assert "broken on Net failed: ValueError: &lt;b&gt;no&lt;/b&gt;" in html
    assert "<b>no</b>" not in html
    assert "report.html" not in html  # none was written
    interpbench.api.write_page(run)
    assert f'<a href="{(run.folder / "report.html").as_uri()}">' in run._repr_html_()


def test_notices_are_escaped_and_limited(run: interpbench.Run) -> None:
    notices = tuple(f"<script>{i}</script>" for i in range(30))
    html = replace(run, info=run.info.model_copy(update={"notices": notices}))._repr_html_()
    assert "&lt;script&gt;9&lt;" in html
    assert "<script>" not in html
    assert "and 20 more" in html


def test_plot_gives_one_picture_as_a_figure(run: interpbench.Run) -> None:
    titles = {kind: run.plot(kind).get_suptitle() for kind in ("scores", "curves")}
    assert titles["scores"].startswith("tensors: mean and 95")
    assert titles["curves"].startswith("Net on tensors")
    figure = run.plot(dataset="tensors")
    assert isinstance(figure, Figure)
    assert figure._repr_png_()[:4] == b"\x89PNG"  # type: ignore[attr-defined]
    with pytest.raises(UnknownNameError, match="Did you mean 'curves'"):
        run.plot("curve")
    with pytest.raises(ParameterError, match="no data for the picture 'critical-difference'"):
        run.plot("critical-difference")
    with pytest.raises(ParameterError, match="no data for the picture 'scores' of nowhere"):
        run.plot(dataset="nowhere")


def test_what_explain_gives_shows_its_first_panels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw_coarsely(monkeypatch)
    explained = interpbench.explain(
        BYTES.repeat(2, 1, 1, 1),
        model=network(),
        method=[gradient],
        device="cpu",
        output=tmp_path / "<b>",
        **KEYWORDS,
    )
    assert repr(explained) == f"Explained 8 images, in {tmp_path / '<b>'}"
    html = explained._repr_html_()
    assert html.count("<img") == 6
    assert "and 2 more" in html
    assert "<b>" not in html
