"""Suite files: what they may say, what is said when they are wrong, and what their hash covers."""

from pathlib import Path
from typing import Any

import pytest

from interpbench.core.errors import SuiteError, UnknownNameError
from interpbench.files.names import is_reserved
from interpbench.files.output_folder import distinct
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import KINDS
from interpbench.registry.spec import parse_specs
from interpbench.suite.cells import safe_name
from interpbench.suite.suite import DEFAULT, Suite, load_suite, suite_names

MINIMAL = """
name = "mine"
dataset = "planted"
models = ["resnet18"]
methods = ["saliency", "occlusion:window=16"]
metrics = ["deletion"]
"""
VALUES: dict[str, Any] = {
    "name": "mine",
    "dataset": "planted",
    "models": ["resnet18"],
    "methods": ["saliency", "occlusion:window=16"],
    "metrics": ["deletion"],
}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_default_is_bundled() -> None:
    assert DEFAULT in suite_names()


@pytest.mark.parametrize("name", suite_names())
def test_bundled_suites_load_and_name_plugins_that_exist(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.description
    registry = discover()
    chosen = {
        "dataset": [suite.dataset],
        "model": suite.models,
        "method": suite.methods,
        "metric": suite.metrics,
    }
    for kind in KINDS:
        for plugin, values in parse_specs(chosen[kind]):
            if plugin != "all":
                registry.configure(kind, plugin, values)


def test_a_file_gives_what_it_says_and_defaults_for_the_rest(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path / "mine.toml", MINIMAL))
    assert (suite.name, suite.dataset, suite.models) == ("mine", "planted", ("resnet18",))
    assert suite.methods == ("saliency", "occlusion:window=16")
    assert (suite.version, suite.images, suite.steps, suite.target, suite.seed) == (
        1,
        None,
        None,
        "predicted",
        0,
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("imags = 3", "Unknown key 'imags'. Did you mean 'images'"),
        ("metric = ['deletion']", "Unknown key 'metric'. Did you mean 'metrics'"),
        ("[other]\nx = 1", "Unknown key 'other'."),
        ("images = 'many'", "key 'images': Value error, a whole number is expected (got 'many')"),
        ("images = '3'", "key 'images': "),
        ("images = 0", "key 'images': Input should be greater than 0 (got 0)"),
        ("images = 2.5", "key 'images': "),
        ("images = true", "key 'images': "),
        ("steps = -1", "key 'steps': Input should be greater than 0 (got -1)"),
        ("seed = -1", "key 'seed': Input should be greater than or equal to 0 (got -1)"),
        (
            "ceiling = true",
            "key 'ceiling': Value error, a whole number from 2 to 16, or `none`, is expected",
        ),
        ("ceiling = '6'", "key 'ceiling': "),
        ("ceiling = 6.0", "key 'ceiling': "),
        ("ceiling = 1", "key 'ceiling': "),
        ("ceiling = 17", "key 'ceiling': "),
        ("target = 'best'", "key 'target': Input should be 'predicted' or 'label' (got 'best')"),
        ("version = 'x'", "key 'version': "),
    ],
)
def test_a_wrong_key_or_type_is_named_with_its_file(
    tmp_path: Path, line: str, message: str
) -> None:
    file = write(tmp_path / "wrong.toml", f"{MINIMAL}\n{line}\n")
    with pytest.raises(SuiteError) as error:
        load_suite(file)
    assert message in str(error.value)
    assert str(error.value).startswith(f"In suite file {file!r}: ")


@pytest.mark.parametrize("key", ["name", "dataset", "models", "methods", "metrics"])
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    text = "\n".join(line for line in MINIMAL.splitlines() if not line.startswith(key))
    with pytest.raises(SuiteError, match=f"key '{key}': Field required"):
        load_suite(write(tmp_path / "missing.toml", text))


@pytest.mark.parametrize("wrong", ['"resnet18"', "[3]", "{}"])
def test_a_list_of_the_wrong_type_is_named(tmp_path: Path, wrong: str) -> None:
    text = MINIMAL.replace('["resnet18"]', wrong)
    with pytest.raises(
        SuiteError,
        match=r"key 'models(\.0)?': .*(a list is expected|Input should be a valid (tuple|string))",
    ):
        load_suite(write(tmp_path / "wrong.toml", text))


def test_bad_toml_gives_the_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"broken\.toml' is no valid TOML: .*line 3"):
        load_suite(
            write(
                tmp_path / "broken.toml",
                'name = "x"\nversion = 1\nmodels = [\n= 3\n'.replace("[\n=", "="),
            )
        )


def test_a_file_that_is_no_text_is_no_toml(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SuiteError, match="is no valid TOML"):
        load_suite(str(tmp_path / "binary.toml"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"Suite file '.*gone\.toml' cannot be read: No such file"):
        load_suite(str(tmp_path / "gone.toml"))


def test_an_unknown_suite_suggests_near_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown suite 'quik'\. Did you mean 'quick'"):
        load_suite("quik")


def test_flags_win_over_the_suite_and_the_suite_over_the_defaults(tmp_path: Path) -> None:
    suite = load_suite(write(tmp_path / "mine.toml", MINIMAL + "images = 5\nsteps = 7\n"))
    changed = suite.changed({"images": 9, "methods": ("random",), "steps": None, "seed": None})
    assert (changed.images, changed.methods, changed.steps, changed.seed) == (9, ("random",), 7, 0)
    assert suite.images == 5


def test_no_flags_change_nothing() -> None:
    suite = load_suite(DEFAULT)
    assert suite.changed({}) == suite.changed(dict.fromkeys(Suite.model_fields)) == suite


@pytest.mark.parametrize(
    ("key", "value"), [("images", 0), ("steps", -3), ("target", "best"), ("seed", -1)]
)
def test_a_wrong_flag_is_named(key: str, value: object) -> None:
    with pytest.raises(SuiteError, match=f"key '{key}'"):
        load_suite(DEFAULT).changed({key: value})


OTHER: dict[str, Any] = {
    "name": "other",
    "version": 2,
    "description": "x",
    "dataset": "cifar10",
    "models": ["vgg11"],
    "methods": ["occlusion:window=16", "saliency"],
    "metrics": ["deletion", "insertion"],
    "images": 3,
    "steps": 3,
    "ceiling": "none",
    "target": "label",
    "seed": 1,
}


def test_the_hash_changes_with_every_field() -> None:
    assert OTHER.keys() == Suite.model_fields.keys()
    hashes = [Suite(**{**VALUES, key: value}).hash for key, value in OTHER.items()]
    assert len({Suite(**VALUES).hash, *hashes}) == len(OTHER) + 1


def test_the_hash_does_not_change_with_comments_order_or_written_defaults(tmp_path: Path) -> None:
    lines = MINIMAL.strip().splitlines()
    turned = "# a comment\n" + "\n".join(reversed(lines)) + "\nseed = 0\n"
    first = load_suite(write(tmp_path / "a.toml", MINIMAL))
    assert load_suite(write(tmp_path / "b.toml", turned)).hash == first.hash
    assert len(first.hash) == 12


def test_a_suite_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_suite(DEFAULT).seed = 3  # type: ignore[misc]


@pytest.mark.parametrize("label", ["con", "NUL.x", "com1", "lpt9.tar", "CONIN$"])
def test_no_file_is_called_as_windows_calls_its_devices(label: str) -> None:
    [name] = distinct([label])
    assert name.lower() == f"_{label.replace('$', '-').strip('-').lower()}" or "$" in label
    assert not is_reserved(safe_name(label))
    assert not is_reserved(name)


def test_cells_keep_their_names_and_any_label_has_one() -> None:
    assert safe_name("planted", "resnet18", "saliency") == "planted-resnet18-saliency-41fdd4c9"
    assert safe_name("\ud800", "x" * 5000).isascii()
    assert len(safe_name("\ud800", "x" * 5000)) < 60
