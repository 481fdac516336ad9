"""Names, parameters and what is said when one is wrong."""

import json
import math
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import PositiveInt

from interpbench import dataset, method, metric, model
from interpbench.core.errors import (
    ArgumentError,
    DuplicatePluginError,
    ParameterError,
    PluginError,
    UnknownNameError,
)
from interpbench.registry.plugin import REQUIRED, Configured
from interpbench.registry.registry import Registry
from interpbench.registry.spec import parse_specs, quoted

HERE = Path(__file__).name


def every_type(
    model: Any,
    x: Any,
    target: Any,
    *,
    count: PositiveInt = 3,
    noise: float = 0.5,
    fill: Literal["zero", "blur"] = "zero",
    cells: Literal[4, 8] = 4,
    window: int | None = None,
    signed: bool = False,
    cache: Path = Path("here"),
    name: str = "a",
) -> Any:
    """The first line.

    The second.
    """
    return (model, x, target, count, noise, fill, cells, window, signed, cache, name)


def registered(function: Any, decorator: Any) -> Registry:
    """A fresh registry that holds one function."""
    registry = Registry()
    with registry.collecting():
        assert decorator(function) is function
    return registry


def configured(**values: Any) -> Configured:
    return registered(every_type, method("every-type")).configure("method", "every-type", values)


def two_arguments(classes: int, size: int) -> None: ...


def no_argument() -> None: ...


def one_argument(explanation: Any) -> None: ...


@pytest.mark.parametrize(
    ("kind", "decorator", "function"),
    [
        ("method", method("it"), every_type),
        ("model", model("it"), two_arguments),
        ("dataset", dataset("it"), no_argument),
        ("metric", metric("it", better="lower"), one_argument),
    ],
)
def test_each_decorator_registers_its_kind_and_returns_the_function_unchanged(
    kind: Any, decorator: Any, function: Any
) -> None:
    before = dict(vars(function))
    registry = registered(function, decorator)
    assert registry.get(kind, "it").call is function
    assert vars(function) == before
    assert [k for k in ("method", "model", "dataset", "metric") if registry.names(k)] == [kind]  # type: ignore[arg-type]


def test_a_record_has_summary_origin_and_traits() -> None:
    plugin = registered(every_type, method("it", reference="Me 2020", gradients=False)).get(
        "method", "it"
    )
    assert plugin.summary == "The first line."
    assert plugin.reference == "Me 2020"
    assert (plugin.gradients, plugin.coarse) == (False, False)
    assert plugin.origin == f"{Path(__file__)}:{every_type.__code__.co_firstlineno}"


def test_parameters_are_the_keyword_only_arguments_in_order() -> None:
    plugin = registered(every_type, method("it")).get("method", "it")
    assert [(p.name, p.type_name, p.default) for p in plugin.parameters] == [
        ("count", "int > 0", 3),
        ("noise", "float", 0.5),
        ("fill", "zero | blur", "zero"),
        ("cells", "4 | 8", 4),
        ("window", "int | none", None),
        ("signed", "bool", False),
        ("cache", "Path", Path("here")),
        ("name", "str", "a"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "7", 7),
        ("noise", "1e-2", 0.01),
        ("noise", "2", 2.0),
        ("fill", "blur", "blur"),
        ("cells", "8", 8),
        ("cells", 8, 8),
        ("window", "16", 16),
        ("window", "none", None),
        ("window", "None", None),
        ("window", None, None),
        ("signed", "true", True),
        ("signed", "False", False),
        ("cache", "/tmp/x y", Path("/tmp/x y")),
        ("name", "none", "none"),
        ("name", "a=b:c", "a=b:c"),
    ],
)
def test_text_becomes_the_annotated_type(name: str, text: Any, value: Any) -> None:
    found = configured(**{name: text}).values[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("count", "0", "int > 0"),
        ("count", "-1", "int > 0"),
        ("count", "1.5", "int > 0"),
        ("count", "none", "int > 0"),
        ("noise", "much", "float"),
        ("fill", "black", "zero | blur"),
        ("cells", "5", "4 | 8"),
        ("window", "wide", "int | none"),
        ("signed", "perhaps", "bool"),
    ],
)
def test_a_wrong_value_names_plugin_parameter_value_and_type(
    name: str, text: str, expected: str
) -> None:
    with pytest.raises(ParameterError) as error:
        configured(**{name: text})
    assert str(error.value).startswith(
        f"method 'every-type': Parameter {name}={text!r} is not valid: expected {expected} ("
    )


def test_a_wrong_parameter_suggests_the_near_one() -> None:
    with pytest.raises(
        UnknownNameError, match=r"parameter of method 'every-type': 'windw'. Did you mean 'window'"
    ):
        configured(windw=3)


def test_a_wrong_name_suggests_near_names_and_lists_few() -> None:
    registry = registered(every_type, method("saliency"))
    with registry.collecting():
        method("occlusion")(every_type)
    with pytest.raises(UnknownNameError) as error:
        registry.get("method", "salency")
    assert str(error.value) == (
        "Unknown method 'salency'. Did you mean 'saliency'? Known: occlusion, saliency. "
        "See `python -m interpbench list methods`; one in a file of yours needs --plugin FILE; maps that you have in "
        "files, --maps DIR."
    )
    with pytest.raises(
        UnknownNameError,
        match=r"^Unknown model 'salency'. Known: none. See .* list models`; one in a file",
    ):
        registry.get("model", "salency")


def test_a_required_parameter_must_be_given() -> None:
    def folder(*, root: Path) -> None: ...

    registry = registered(folder, dataset("folder"))
    plugin = registry.get("dataset", "folder")
    assert plugin.required == ["root"]
    assert plugin.parameters[0].default is REQUIRED
    with pytest.raises(
        ParameterError,
        match=r"dataset 'folder' needs the parameter 'root' \(Path\).*folder:root=VALUE",
    ):
        plugin.configure()
    assert plugin.configure({"root": "x"}).values == {"root": Path("x")}


def test_duplicates_name_both_origins() -> None:
    def first(model: Any, x: Any, target: Any) -> None: ...

    def second(model: Any, x: Any, target: Any) -> None: ...

    registry = registered(first, method("twice"))
    with registry.collecting(), pytest.raises(DuplicatePluginError) as error:
        method("twice")(second)
    for function in (first, second):
        assert f"{HERE}:{function.__code__.co_firstlineno}" in str(error.value)
    assert registry.get("method", "twice").call is first


def test_one_name_may_serve_two_kinds() -> None:
    registry = registered(every_type, method("same"))
    with registry.collecting():
        model("same")(two_arguments)
    assert registry.names("method") == registry.names("model") == ["same"]


def test_registering_the_same_function_again_is_fine() -> None:
    registry = registered(every_type, method("again"))
    with registry.collecting():
        method("again")(every_type)
    assert registry.names("method") == ["again"]


def positional_parameter(model: Any, x: Any, target: Any, window: int = 3) -> None: ...


def any_keyword(model: Any, x: Any, target: Any, **options: Any) -> None: ...


def any_positional(model: Any, x: Any, target: Any, *rest: Any) -> None: ...


def too_few(model: Any, x: Any) -> None: ...


@pytest.mark.parametrize("function", [positional_parameter, any_keyword, any_positional, too_few])
def test_other_signatures_are_refused_with_the_right_one(function: Any) -> None:
    with pytest.raises(PluginError) as error:
        registered(function, method("wrong"))
    assert "must have the signature (model, x, target, *, parameter=default)" in str(error.value)
    assert f"{HERE}:{function.__code__.co_firstlineno}: method 'wrong'" in str(error.value)


def test_a_parameter_without_annotation_is_refused() -> None:
    def bare(model: Any, x: Any, target: Any, *, window=3) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(
        PluginError, match="parameter 'window' of method 'bare' needs a type annotation"
    ):
        registered(bare, method("bare"))


@pytest.mark.parametrize("name", ["", "Upper", "a b", "a:b", "a,b", "a=b", "-a", "a/b"])
def test_names_that_cannot_be_typed_are_refused(name: str) -> None:
    with pytest.raises(PluginError, match="is no plugin name"):
        registered(every_type, method(name))


def test_generators_and_ids_are_provided_and_no_parameters() -> None:
    def chance(
        model: Any, x: Any, target: Any, *, generators: Any, ids: Any, scale: float = 2.0
    ) -> Any:
        return generators, ids, scale

    plugin = registered(chance, method("chance")).get("method", "chance")
    assert [p.name for p in plugin.parameters] == ["scale"]
    assert plugin.configure()(None, None, None, generators="g", ids="i") == ("g", "i", 2.0)
    for name in ("generators", "ids"):
        with pytest.raises(UnknownNameError):
            plugin.configure({name: 1})


def test_what_a_plugin_does_not_take_is_not_passed() -> None:
    assert configured(count=5)("m", "x", "t", generators="g")[:4] == ("m", "x", "t", 5)


def test_labels_show_only_what_differs_from_the_defaults() -> None:
    assert configured().label == "every-type"
    assert configured(count="3").label == "every-type"
    assert configured(window="16", fill="blur").label == "every-type:fill=blur,window=16"


def test_parameters_json_holds_all_values_sorted() -> None:
    text = configured(window=16).parameters_json
    values = {
        "cache": "here",
        "cells": 4,
        "count": 3,
        "fill": "zero",
        "name": "a",
        "noise": 0.5,
        "signed": False,
    }
    assert json.loads(text) == {**values, "window": 16}
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert configured(window="16").parameters_json == text


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "count": st.integers(1, 10**6),
            "noise": st.floats(allow_nan=False, allow_infinity=False),
            "fill": st.sampled_from(["zero", "blur"]),
            "cells": st.sampled_from([4, 8]),
            "window": st.none() | st.integers(),
            "signed": st.booleans(),
        },
    )
)
def test_a_label_typed_again_gives_the_same_values(values: dict[str, Any]) -> None:
    choice = configured(**values)
    ((name, texts),) = parse_specs([choice.label])
    assert name == "every-type"
    assert configured(**texts).values == choice.values


def named(classes: int, size: int, *, name: str, width: int = 4) -> Any:
    return name, width


def test_a_value_without_a_name_is_that_of_the_only_required_parameter() -> None:
    registry = registered(named, model("lib"))
    ((name, values),) = parse_specs(["lib:resnet,width=5"])
    choice = registry.configure("model", name, values)
    assert choice.values == {"name": "resnet", "width": 5}
    assert choice.label == "lib:resnet,width=5"
    assert choice.slug == "lib-resnet"
    assert registry.configure("model", "lib", {"name": "a/b c"}).slug == "lib-a-b-c"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lib:a,name=b", "Parameter 'name' of 'lib' is given twice"),
        ("lib", "model 'lib' needs the parameter 'name' .* write lib:name=VALUE"),
        (
            "free:5",
            "'5' of model 'free' is no parameter: write free:PARAMETER=VALUE. Parameters: width",
        ),
        ("both:5", "'5' of model 'both' is no parameter: .* Parameters: one, two"),
    ],
)
def test_a_value_that_no_parameter_can_take_is_refused(text: str, message: str) -> None:
    def free(classes: int, size: int, *, width: int = 4) -> None: ...

    def both(classes: int, size: int, *, one: int, two: int) -> None: ...

    registry = registered(named, model("lib"))
    with registry.collecting():
        model("free")(free)
        model("both")(both)
    ((name, values),) = parse_specs([text])
    with pytest.raises(ParameterError, match=message):
        registry.configure("model", name, values)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_a_label_with_a_first_value_typed_again_gives_the_same_values(value: str) -> None:
    choice = registered(named, model("lib")).configure("model", "lib", {"name": value})
    ((name, values),) = parse_specs([choice.label])
    assert (name, choice.plugin.configure(values).values) == ("lib", choice.values)


def test_fresh_registries_share_nothing() -> None:
    one = registered(every_type, method("one"))
    copy = one.copy()
    with copy.collecting():
        method("two")(every_type)
    assert copy.names("method") == ["one", "two"]
    assert one.names("method") == ["one"]
    assert Registry().names("method") == []


@pytest.mark.parametrize(
    ("texts", "specs"),
    [
        ([], []),
        ([""], []),
        (["saliency"], [("saliency", {})]),
        (["a,b", "c"], [("a", {}), ("b", {}), ("c", {})]),
        (
            ["occlusion:window=16,stride=8,saliency"],
            [("occlusion", {"window": "16", "stride": "8"}), ("saliency", {})],
        ),
        ([" a , b:x=1 , y=2 "], [("a", {}), ("b", {"x": "1", "y": "2"})]),
        (["folder:root=C:/data,name=x"], [("folder", {"root": "C:/data", "name": "x"})]),
        (["a:x=1,y=C:/b"], [("a", {"x": "1", "y": "C:/b"})]),
        (["a:x=b=c"], [("a", {"x": "b=c"})]),
        (["a:x=1,a:x=2"], [("a", {"x": "1"}), ("a", {"x": "2"})]),
        (["a:b"], [("a", {"": "b"})]),
        (["a:b,x=1,c"], [("a", {"": "b", "x": "1"}), ("c", {})]),
        (["a:C:/b.onnx"], [("a", {"": "C:/b.onnx"})]),
        (["a:./my-b=c"], [("a", {"": "./my-b=c"})]),
        (["b.py:build"], [("b.py:build", {})]),
        (["C:/a/b.py:build:x=1,y=2,c"], [("C:/a/b.py:build", {"x": "1", "y": "2"}), ("c", {})]),
        (["b.py:build,x=1"], [("b.py:build", {"x": "1"})]),
        (['a:x="1,2",y=3,b'], [("a", {"x": "1,2", "y": "3"}), ("b", {})]),
        (['a:"C:/b, c",d'], [("a", {"": "C:/b, c"}), ("d", {})]),
        (['a:"x=1,y=2"'], [("a", {"": "x=1,y=2"})]),
        (['a:x="say ""hi"", twice"'], [("a", {"x": 'say "hi", twice'})]),
        (['a:x=5"disk,y=6"disk'], [("a", {"x": '5"disk', "y": '6"disk'})]),
        (['a:x="open,b'], [("a", {"x": '"open'}), ("b", {})]),
    ],
)
def test_specs_are_read_as_typed(texts: list[str], specs: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_specs(texts) == specs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("window=16", "'window=16' belongs to no name: write NAME:window=16"),
        ("a:x=1,x=2", "Parameter 'x' of 'a' is given twice"),
    ],
)
def test_specs_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parse_specs([text])


NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True)
VALUES = st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]) | st.sampled_from('",'),
    max_size=8,
)
SPECS = st.lists(
    st.tuples(
        NAMES, st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=3)
    )
)


@settings(deadline=None)
@given(SPECS, st.booleans())
def test_specs_written_out_are_read_back(
    specs: list[tuple[str, dict[str, str]]], together: bool
) -> None:
    texts = [
        name + (":" + ",".join(f"{k}={quoted(v)}" for k, v in values.items()) if values else "")
        for name, values in specs
    ]
    assert parse_specs([",".join(texts)] if together else texts) == specs


@pytest.mark.parametrize(
    "limits",
    [(1.0, 0.0), (0.0, 0.0), (0.0, math.nan), (0.0,), (0.0, 0.5, 1.0), ("0", "1"), (False, True)],
)
def test_a_range_that_is_none_is_refused_when_a_metric_is_registered(limits: Any) -> None:
    with (
        Registry().collecting(),
        pytest.raises(PluginError, match=r"is no range\. Expected the least and the greatest"),
    ):
        metric("wrong", better="lower", range=limits)


def test_a_direction_that_is_none_is_refused_when_a_metric_is_registered() -> None:
    direction: Any = "Lower"
    with (
        Registry().collecting(),
        pytest.raises(ArgumentError, match=r"better='Lower'.*'lower' or 'higher'"),
    ):
        metric("wrong", better=direction)


def test_whole_numbers_are_a_range_and_so_is_half_a_line() -> None:
    registry = Registry()
    with registry.collecting():
        metric("counts", better="lower", range=(0, math.inf))(lambda explanation: explanation)
    assert registry.get("metric", "counts").range == (0.0, math.inf)


@pytest.mark.parametrize("name", ["x" * 5000, "\x1b[31m", "a\nb", "a\0", "../x", "A", "", ".", "-"])
def test_names_of_plugins_are_short_and_plain(name: str) -> None:
    with (
        Registry().collecting(),
        pytest.raises(PluginError, match="is no plugin name: use up to 100"),
    ):
        method(name)(lambda model, x, target: x)
