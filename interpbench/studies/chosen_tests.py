"""The tests of a study that a user names with `--test`."""

from collections.abc import Sequence

from interpbench.core.errors import ParameterError, unknown_name

ALL = "all"


def choose_tests(texts: Sequence[str], tests: Sequence[str]) -> tuple[str, ...]:
    """Those of a study's tests that a user names, in the study's order; `all` is all of them.

    Raises:
        UnknownNameError: for a name that is none; the message lists the near ones.
        ParameterError: if nothing is named.
    """
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    for name in names:
        if name not in (*tests, ALL):
            raise unknown_name("test in --test:", name, [*tests, ALL])
    if not names:
        raise ParameterError(
            f"No test is chosen. Name one with --test: {', '.join(tests)}, or {ALL}."
        )
    return tuple(test for test in tests if test in names or ALL in names)
