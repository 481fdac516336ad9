"""Public functions called wrongly: one sentence, which is a ParameterError and a TypeError."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interpbench
from interpbench.core.errors import ArgumentError

FUNCTIONS = [
    interpbench.run, interpbench.explain, interpbench.gallery, interpbench.sanity, interpbench.conformance,
    interpbench.doctor, interpbench.check, interpbench.train, interpbench.find_lr, interpbench.load_run,
    interpbench.method, interpbench.model, interpbench.dataset, interpbench.metric, interpbench.reference,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_an_unknown_argument_suggests_the_near_ones(function: Callable[..., Any]) -> None:
    known = list(inspect.signature(function).parameters)[-1]
    with pytest.raises(interpbench.ParameterError) as error:
        function(**{known + "x": 1})
    assert str(error.value).startswith(
        f"{function.__name__}() got an unexpected argument '{known}x'. Did you mean"
    )
    assert repr(known) in str(error.value)
    assert isinstance(error.value, TypeError)


def test_an_argument_that_is_like_none_lists_them_all() -> None:
    with pytest.raises(ArgumentError) as error:
        interpbench.load_run(zzz=1)  # type: ignore[call-arg]
    assert str(error.value) == "load_run() got an unexpected argument 'zzz'. It takes folder."


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: interpbench.run(metod="x"), "'metod'. Did you mean 'method'"),
        (lambda: interpbench.run(seed="a"), "seed='a' is of type str; expected int or None."),
        (lambda: interpbench.run(seed=True), "seed=True is of type bool"),
        (lambda: interpbench.run(plots=3), "plots=3 is of type int; expected bool."),
        (lambda: interpbench.run(plugin=[3]), "expected str, Path, a sequence of str or Path or None."),
        (lambda: interpbench.run(weights={"a": 1}), "expected str, a sequence of str or None."),
        (lambda: interpbench.run(model=3), "model=3: expected the name of a plugin, a torch.nn.Module"),
        (lambda: interpbench.run(method=3), "method=3: expected the name of a plugin, a function"),
        (lambda: interpbench.run(metric=[["a"]]), "metric=['a']: expected the name of a plugin"),
        (lambda: interpbench.explain(), "missing a required argument: 'images'. It needs images; see help("),
        (lambda: interpbench.explain("a.png", model="resnet18", method="saliency", alpha="x"), "expected an opacity"),
        (lambda: interpbench.run("quick", "planted"), "too many positional arguments"),
    ],
)  # fmt: skip
def test_each_wrong_call_gets_one_sentence(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(interpbench.ParameterError) as error:
        call()
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_fits_is_let_through_and_signature_and_docs_stay(tmp_path: Path) -> None:
    import numpy as np

    with pytest.raises(
        interpbench.ParameterError, match="No metric is chosen"
    ):  # which numpy's number got past
        interpbench.run(seed=np.int64(3), metric=(), dataset="planted", output=tmp_path / "run")  # type: ignore[arg-type]
    assert str(inspect.signature(interpbench.load_run)).startswith("(folder: str | pathlib")
    assert (interpbench.run.__doc__ or "").startswith("Explains and scores")
