"""The page in a browser: what a reader does with mouse and keyboard, on a desk and on a phone, without a network."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from interpbench.report.page.charts import charts
from interpbench.report.page.render import write_page
from interpbench.report.verdict.evidence import Evidence
from tests.report.page.pages import HOSTILE, board_evidence, run_evidence

playwright = pytest.importorskip("playwright.sync_api")
BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no browser is installed")
LARGEST = 5_000_000  # bytes of the page of a run like `quick`


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
        found = started.chromium.launch(executable_path=BROWSER, args=options)
        yield found
        found.close()


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """As large as `quick`, with pictures of its size."""
    return run_evidence(
        models=("alexnet", "resnet18", "vgg11"), images=30, steps=64, side=64, examples=4
    )


@pytest.fixture(scope="module")
def file(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page(evidence, tmp_path_factory.mktemp("page") / "report.html")


class Watched:
    """A page whose errors and requests are noted."""

    def __init__(
        self, browser: "playwright.Browser", file: Path, width: int = 1400, **options: object
    ) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def check(self, file: Path) -> None:
        """No error and no request but for the page itself and the data in it."""
        assert self.errors == []
        assert [url for url in self.requests if not url.startswith("data:")] == [file.as_uri()]
        self.context.close()


@pytest.fixture
def page(browser: "playwright.Browser", file: Path) -> Iterator["playwright.Page"]:
    watched = Watched(browser, file)
    yield watched.page
    watched.check(file)


def rows(page: "playwright.Page") -> list["playwright.Locator"]:
    return page.locator("#board tbody tr:visible").all()


def test_the_page_of_a_run_like_quick_is_small(file: Path) -> None:
    assert file.stat().st_size < LARGEST


def test_the_leaderboard_is_filtered_by_metric_model_and_text(
    page: "playwright.Page", evidence: Evidence
) -> None:
    assert len(rows(page)) == 27
    page.select_option("#filter [name=place]", label="resnet18")
    assert len(rows(page)) == 9
    page.select_option("#filter [name=metric]", "")
    assert len(rows(page)) == 36
    page.fill("#filter [name=text]", "rise")
    assert len(rows(page)) == 4
    assert all("rise:masks=500" in row.inner_text() for row in rows(page))
    assert page.locator("#filter output").inner_text() == "4 of 108 rows"
    page.select_option("#filter [name=place]", "")
    page.fill("#filter [name=text]", " insertion  RISE vgg ")
    [row] = rows(page)
    assert all(part in row.inner_text() for part in ("rise:masks=500", "vgg11", "insertion"))
    nothing = page.get_by_text("No row fits these choices.")
    assert nothing.is_hidden()
    page.fill("#filter [name=text]", "rise gradcam")
    assert rows(page) == []
    assert nothing.is_visible()


def test_the_first_click_shows_the_best_first(page: "playwright.Page", evidence: Evidence) -> None:
    def values(column: str) -> list[float]:
        shown = [row.locator(f"td.{column}").get_attribute("data-value") for row in rows(page)]
        return [float(value) for value in shown if value]

    page.locator("#board th[data-key=share] button").click()
    shares = evidence.board.query("metric == 'deletion'")["share"].dropna()
    assert values("share") == pytest.approx(sorted(shares, reverse=True))
    page.select_option("#filter [name=metric]", label="insertion")
    page.locator("#board th[data-key=mean] button").click()
    means = evidence.board.query("metric == 'insertion'")["mean"]
    assert values("mean") == pytest.approx(sorted(means, reverse=True))


def test_the_legend_draws_the_marks_as_the_plot_does(page: "playwright.Page") -> None:
    dashes = "one => getComputedStyle(one).strokeDasharray"
    legend, plot = (
        {
            mark: page.locator(f"{where} path.{mark}").first.evaluate(dashes)
            for mark in ("floor", "ceiling")
        }
        for where in ("svg.key", "#board .plot")
    )
    assert legend == plot
    assert legend["floor"] != legend["ceiling"]


def test_the_leaderboard_is_sorted_by_mouse_and_keyboard(
    page: "playwright.Page", evidence: Evidence
) -> None:
    board = evidence.board[evidence.board["metric"] == "deletion"]
    expected = [f"{mean:.3f}" for mean in sorted(board["mean"])]

    def means() -> list[str]:
        return [row.locator("td.mean").inner_text().split()[0] for row in rows(page)]

    head = page.locator("#board th[data-key=mean]")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert means() == expected
    page.keyboard.press("Enter")  # the button has the focus
    assert head.get_attribute("aria-sort") == "descending"
    assert means() == expected[::-1]
    page.locator("#board th[data-key=method] button").press("Space")
    assert head.get_attribute("aria-sort") is None
    names = [row.locator("th").inner_text() for row in rows(page)]
    assert names == sorted(names)


def test_a_method_lights_up_everywhere_and_shows_its_values(
    page: "playwright.Page", evidence: Evidence
) -> None:
    number = evidence.number["gradcam"]
    mean = evidence.board.query(
        "metric == 'deletion' and model == 'alexnet' and method == 'gradcam'"
    )["mean"].iloc[0]
    readout = page.locator(".readout").first
    page.locator(f".chip[data-m='{number}']").focus()
    assert f"gradcam: mean {mean:.3f}" in readout.inner_text()
    lit = page.locator(".lit")
    assert {element.get_attribute("data-m") for element in lit.all()} == {str(number)}
    assert {"tr", "g", "figure", "button"} <= set(
        lit.evaluate_all("all => all.map(one => one.localName)")
    )
    page.keyboard.press("Enter")
    page.locator("h1").hover()
    assert page.locator(f".chip[data-m='{number}']").get_attribute("aria-pressed") == "true"
    assert f"gradcam: mean {mean:.3f}" in readout.inner_text()
    page.locator(f".chip[data-m='{number}']").click()
    page.locator("h1").hover()
    assert page.locator(".lit").count() == 0


def test_pointing_into_a_chart_shows_the_value_there(
    page: "playwright.Page", evidence: Evidence
) -> None:
    chart = charts(evidence)[0]
    worst = chart.curves[0]
    index = len(chart.fractions) // 2
    x = chart.left + chart.fractions[index] * (chart.right - chart.left)
    share = (worst.means[index] - chart.low) / (chart.high - chart.low)
    y = chart.bottom - share * (chart.bottom - chart.top)
    svg = page.locator(".chart svg").first
    svg.scroll_into_view_if_needed()
    box = svg.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x / 460 * box["width"], box["y"] + y / 280 * box["height"])
    readout = page.locator(".readout").first.inner_text()
    assert readout.endswith(f"{worst.means[index]:.3f} at {round(100 * chart.fractions[index])} %")


def test_the_overlay_and_the_outline_are_layers(page: "playwright.Page") -> None:
    opacity = "one => getComputedStyle(one).opacity"
    layer = page.locator(".example image.map").first
    slider = page.locator("#choose [name=strength]")
    assert float(layer.evaluate(opacity)) == pytest.approx(0.75)
    slider.fill("20")
    assert float(layer.evaluate(opacity)) == pytest.approx(0.2)
    slider.press("ArrowRight")
    assert float(layer.evaluate(opacity)) == pytest.approx(0.21)
    outline = page.locator(".example .outline").first
    assert outline.evaluate("one => getComputedStyle(one).display") != "none"
    page.uncheck("#choose [name=outline]")
    assert outline.evaluate("one => getComputedStyle(one).display") == "none"


def test_the_gallery_is_filtered_and_ordered(page: "playwright.Page", evidence: Evidence) -> None:
    examples = page.locator(".example:visible")
    assert examples.count() == 4  # of the first model
    page.select_option("#choose [name=place]", "")
    assert examples.count() == 12
    page.check("#choose [name=wrong]")
    assert examples.count() == 3
    assert all("taken for" in one.inner_text() for one in examples.all())
    page.uncheck("#choose [name=wrong]")
    page.select_option("#choose [name=place]", label="alexnet")
    assert examples.count() == 4
    assert evidence.tables is not None
    scores = evidence.tables.scores.query(
        "model == 'alexnet' and method == 'gradcam' and metric == 'insertion'"
    )
    shown = {example.sample_id for example in evidence.tables.examples}
    best = (
        scores[scores["sample_id"].isin(shown)]
        .sort_values("value", ascending=False)["sample_id"]
        .tolist()
    )
    page.select_option("#choose [name=method]", label="gradcam")
    page.select_option("#choose [name=metric]", "insertion")
    for order, expected in (("best", best[:3]), ("worst", best[::-1][:3])):
        page.select_option("#choose [name=order]", order)
        assert [re.findall(r"image-\d+", one.inner_text())[0] for one in examples.all()] == expected
    page.select_option("#choose [name=class]", index=1)
    assert examples.count() == 1


def test_the_theme_follows_the_system_and_the_button(
    browser: "playwright.Browser", file: Path
) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    watched = Watched(browser, file, color_scheme="dark")
    dark = watched.page.evaluate(ground)
    assert watched.page.locator("#theme").get_attribute("aria-pressed") == "true"
    watched.page.locator("#theme").press("Enter")
    light = watched.page.evaluate(ground)
    assert watched.page.locator("#theme").get_attribute("aria-pressed") == "false"
    assert [sum(map(int, re.findall(r"\d+", color))) for color in (dark, light)] == [
        17 + 20 + 24,
        246 + 247 + 249,
    ]
    watched.check(file)


def test_focus_is_visible_wherever_the_keyboard_goes(page: "playwright.Page") -> None:
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        width, name = page.evaluate(
            "[getComputedStyle(document.activeElement).outlineWidth, document.activeElement.localName]"
        )
        assert width == "3px", name
        seen.add(name)
    assert {"a", "button", "select", "input"} <= seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_enough_contrast(browser: "playwright.Browser", file: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1, of every text's computed colour and the nearest opaque ground below it."""
    watched = Watched(browser, file, color_scheme=scheme)
    pairs = watched.page.evaluate(
        """() => {
          const hasText = one => [...one.childNodes].some(node => node.nodeType === 3 && node.data.trim());
          const all = [...document.querySelectorAll("main *:not(svg *), header *, footer")];
          return all.filter(one => hasText(one) && one.checkVisibility()).map(one => {
            let ground = one;
            while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
            return [getComputedStyle(one).color, getComputedStyle(ground).backgroundColor, one.className];
          });
        }"""
    )
    assert len(pairs) > 200
    for text, ground, name in pairs:
        assert contrast(text, ground) >= 4.5, (name, text, ground)
    watched.check(file)


def contrast(first: str, second: str) -> float:
    """The contrast of two CSS colours rgb(r, g, b), by WCAG 2's definition."""

    def luminance(color: str) -> float:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [
            part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_a_phone_scrolls_in_one_direction(browser: "playwright.Browser", file: Path) -> None:
    watched = Watched(browser, file, width=390)
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
    right = "all => Math.max(...all.map(one => one.getBoundingClientRect().right))"
    assert watched.page.locator("main > section, .box").evaluate_all(right) <= 390
    watched.check(file)


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [390, 1400])
def test_what_goes_on_to_the_right_says_so(
    browser: "playwright.Browser", file: Path, width: int, scripts: bool
) -> None:
    watched = Watched(browser, file, width=width, java_script_enabled=scripts)
    hint = "one => getComputedStyle(one, '::after')"
    tables = watched.page.locator(".scroll").all()
    wider = [one.evaluate("one => one.scrollWidth > one.clientWidth") for one in tables]
    assert any(wider) or width > 390
    assert not all(wider)
    for one, goes_on in zip(tables, wider, strict=True):
        assert (one.evaluate(f"{hint}.display") == "block") == goes_on
        if goes_on:
            assert float(one.evaluate(f"{hint}.opacity")) == 1
            one.evaluate("one => one.scrollTo({left: one.scrollWidth, behavior: 'instant'})")
            watched.page.wait_for_timeout(100)
            assert float(one.evaluate(f"{hint}.opacity")) == 0
    watched.check(file)


def test_without_a_script_everything_is_there(browser: "playwright.Browser", file: Path) -> None:
    watched = Watched(browser, file, java_script_enabled=False)
    assert watched.page.locator("#board tbody tr:visible").count() == 108
    assert watched.page.locator(".example:visible").count() == 12
    assert watched.page.locator("#filter").is_hidden()
    watched.check(file)


def test_print_is_light_whole_and_no_wider_than_the_paper(
    browser: "playwright.Browser", file: Path
) -> None:
    watched = Watched(browser, file, width=720, color_scheme="dark")
    watched.page.emulate_media(media="print")
    assert watched.page.evaluate("getComputedStyle(document.body).color") == "rgb(21, 24, 29)"
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 720
    assert watched.page.locator("#filter, .bar").first.is_hidden()
    watched.check(file)


def test_hostile_names_do_nothing(browser: "playwright.Browser", tmp_path: Path) -> None:
    evidence = run_evidence(methods=HOSTILE, models=HOSTILE[:1], metrics=("deletion",), images=10)
    file = write_page(evidence, tmp_path / "hostile.html")
    watched = Watched(browser, file, width=390)
    watched.page.locator(".chip").last.click()
    watched.page.select_option("#choose [name=order]", "best")
    assert watched.page.evaluate("window.broken") is None
    assert watched.page.evaluate("document.documentElement.scrollWidth") == 390
    for name in HOSTILE:
        assert watched.page.get_by_text(name, exact=True).count() > 0
    watched.check(file)


def test_a_leaderboard_alone_works(browser: "playwright.Browser", tmp_path: Path) -> None:
    evidence = board_evidence(
        ("a", "deletion", "x", 0.1, 1, "a"), ("a", "deletion", "y", 0.2, 2, "b")
    )
    file = write_page(evidence, tmp_path / "board.html")
    watched = Watched(browser, file)
    watched.page.fill("#filter [name=text]", "y")
    assert len(rows(watched.page)) == 1
    watched.check(file)
