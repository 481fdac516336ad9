"""A data set's name may hold a path: headings that have it stay within their pictures."""

from matplotlib.figure import Figure

from interpbench.studies.sanity.plots import _head

LONG = "resnet18 on imagefolder:root=/somewhere/" + "far/" * 60 + ",name=cifar10,split=test"


def test_a_long_heading_of_the_sanity_checks_is_cut() -> None:
    figure = Figure(figsize=(6, 3))
    _head(figure, LONG, "mean")
    text = figure._suptitle
    assert text is not None
    assert text.get_text().endswith("…\nmean")
    assert text.get_window_extent().width < figure.bbox.width
    _head(figure, "resnet18 on planted", "mean")
    assert figure._suptitle.get_text() == "resnet18 on planted\nmean"
