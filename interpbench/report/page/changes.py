"""What was run, and how it differs from the suite that it is called after."""

from collections.abc import Iterator

from interpbench.report.verdict.evidence import Evidence
from interpbench.report.verdict.words import count, listing
from interpbench.results.run_info import RunInfo
from interpbench.suite.suite import Suite, load_suite, suite_names

_SEVERAL = ("models", "methods", "metrics")
_ONE = ("dataset", "images", "steps", "ceiling", "target", "seed")


def about_the_run(evidence: Evidence) -> str:
    """A sentence or two on what was run.

    A suite speaks for a run of it as it is. Of one that was changed, this says what was run, and
    what was changed.
    """
    if not evidence.change:
        return f"The suite {evidence.name}: {evidence.description}" if evidence.description else ""
    board = evidence.board
    images = int((board["n"] + board["unscored"]).max())
    ran = (
        f"{count(images, 'image')} of {listing(sorted(set(board['dataset'])))}, "
        f"{count(board['model'].nunique(), 'model')}, {count(len(evidence.methods), 'method')}"
    )
    changed = changes(evidence.info)
    how = f" Changed: {changed}." if changed else ""
    return f"{ran}: not the suite {evidence.info.suite.name} as it is.{how}"


def changes(info: RunInfo) -> str:
    """How a run's settings differ from those of its suite: `images 30, not 200; models without a`.

    Empty where nothing is changed, and where it is not known: the suite is a file, or was of
    another version.
    """
    settings = info.settings
    if not isinstance(settings, Suite) or settings.name not in suite_names():
        return ""
    suite = load_suite(settings.name)
    return "; ".join(_changes(settings, suite)) if settings.version == suite.version else ""


def _changes(settings: Suite, suite: Suite) -> Iterator[str]:
    for key in _ONE:
        now, before = getattr(settings, key), getattr(suite, key)
        if now != before:
            yield f"{key} {_said(now)}, not {_said(before)}"
    for key in _SEVERAL:
        now, before = getattr(settings, key), getattr(suite, key)
        if now and not {*now} & {*before}:
            yield f"{key} {listing(now)} instead of its own"
            continue
        more = [name for name in now if name not in before]
        less = [name for name in before if name not in now]
        parts = [
            f"{word} {listing(names)}"
            for word, names in (("with", more), ("without", less))
            if names
        ]
        if parts:
            yield f"{key} {' and '.join(parts)}"


def _said(value: object) -> str:
    return "the default" if value is None else str(value)
