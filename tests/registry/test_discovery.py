"""Plugins are found in the bundled folder, in installed packages and where the user points; nowhere else."""

import sys
from pathlib import Path

import pytest

from interpbench.core.errors import DuplicatePluginError, PluginError
from interpbench.registry.discovery import (
    bundled_folder,
    discover,
    load_file,
    load_folder,
    load_path,
)
from interpbench.registry.registry import Registry

TEN_LINES = '''"""Brightness."""

from interpbench import method


@method("{name}")
def brightness(model, x, target, *, gain: float = 1.0):
    """How bright a position is."""
    return gain * x.mean(dim=1)
'''


def plugin_file(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEN_LINES.format(name=name))
    return path


def test_the_bundled_plugins_are_found() -> None:
    registry = discover()
    assert {"gradcam", "guided-backprop", "saliency", "occlusion", "random"} <= set(
        registry.names("method")
    )
    assert {"resnet18", "vgg11", "vgg16", "alexnet"} <= set(registry.names("model"))
    assert {"planted", "cifar10", "imagenette", "imagefolder"} <= set(registry.names("dataset"))
    assert {"deletion", "insertion"} <= set(registry.names("metric"))


def test_every_bundled_file_registers_something() -> None:
    files = [p for p in bundled_folder().rglob("*.py") if not p.name.startswith(("_", "."))]
    assert files
    for file in files:
        load_path(file, Registry())  # raises if it registers nothing


def test_a_file_of_ten_lines_is_a_plugin(tmp_path: Path) -> None:
    assert TEN_LINES.count("\n") < 10
    plugin = discover([plugin_file(tmp_path / "bright.py", "brightness")]).get(
        "method", "brightness"
    )
    assert plugin.summary == "How bright a position is."
    assert plugin.configure({"gain": "2"}).label == "brightness:gain=2.0"


def test_a_folder_is_searched_to_the_bottom(tmp_path: Path) -> None:
    plugin_file(tmp_path / "a.py", "one")
    plugin_file(tmp_path / "deep" / "er" / "b-c.py", "two")
    assert {"one", "two"} <= set(discover([tmp_path]).names("method"))


def test_tests_and_what_starts_with_underscore_or_dot_are_skipped(tmp_path: Path) -> None:
    for hidden in (
        "test_seen.py",
        "_helper.py",
        ".hidden.py",
        "__pycache__/x.py",
        "_private/y.py",
        ".git/z.py",
    ):
        plugin_file(tmp_path / hidden, "never")
    plugin_file(tmp_path / "seen.py", "seen")
    registry = Registry()
    load_folder(tmp_path, registry)
    assert registry.names("method") == ["seen"]


def test_a_folder_below_a_hidden_one_can_be_named(tmp_path: Path) -> None:
    plugin_file(tmp_path / "_mine" / "a.py", "mine")
    registry = Registry()
    load_path(tmp_path / "_mine", registry)
    assert registry.names("method") == ["mine"]


def test_files_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    plugin_file(tmp_path / "a" / "same.py", "one")
    plugin_file(tmp_path / "b" / "same.py", "two")
    registry = Registry()
    load_path(tmp_path, registry)
    assert registry.names("method") == ["one", "two"]


def test_loading_twice_runs_a_file_once_and_registers_it_twice(tmp_path: Path) -> None:
    file = plugin_file(tmp_path / "once.py", "once")
    file.write_text(file.read_text() + f"open({str(tmp_path / 'runs')!r}, 'a').write('x')\n")
    first, second = discover([file]), discover([file])
    assert first.get("method", "once").call is second.get("method", "once").call
    assert (tmp_path / "runs").read_text() == "x"


def test_what_one_call_finds_the_next_does_not(tmp_path: Path) -> None:
    discover([plugin_file(tmp_path / "a.py", "passing")])
    assert "passing" not in discover().names("method")


def test_a_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text("x = 1\ny = 2\nz = = 3\n")
    with pytest.raises(PluginError, match=r"broken\.py:3: syntax error in a plugin file: "):
        load_file(file, Registry())


def test_an_import_that_fails_names_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "needs.py"
    file.write_text("\nimport no_such_package_here\n")
    with pytest.raises(PluginError) as error:
        load_file(file, Registry())
    assert "ModuleNotFoundError: No module named 'no_such_package_here'" in str(error.value)
    assert f"{file}:2" in str(error.value)


def test_a_failure_deep_in_a_library_names_the_plugin_file(tmp_path: Path) -> None:
    file = tmp_path / "deep.py"
    file.write_text("import json\n\njson.loads('{')\n")
    with pytest.raises(
        PluginError, match=r"Plugin file .*deep\.py failed to import: JSONDecodeError"
    ):
        load_file(file, Registry())


def test_a_script_that_exits_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "script.py"
    file.write_text("raise SystemExit(0)\n")
    with pytest.raises(PluginError, match=r"script\.py failed to import: SystemExit"):
        load_file(file, Registry())


def test_a_file_that_failed_can_be_mended_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "mended.py"
    file.write_text("1 / 0\n")
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load_file(file, Registry())
    registry = Registry()
    load_file(plugin_file(file, "mended"), registry)
    assert registry.names("method") == ["mended"]


def test_a_wrong_signature_in_a_file_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("from interpbench import method\n\n@method('wrong')\ndef wrong(x): ...\n")
    with pytest.raises(PluginError, match=r"wrong\.py:3: method 'wrong' must have the signature"):
        load_file(file, Registry())


@pytest.mark.parametrize("content", ["", "x = 1\n"])
def test_a_file_that_registers_nothing_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "empty.py"
    file.write_text(content)
    with pytest.raises(
        PluginError, match=r"empty\.py registers no plugin. Decorate a function with @method"
    ):
        discover([file])


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="registers no plugin"):
        discover([tmp_path])


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"No plugin file or folder '.*nowhere\.py'"):
        discover([tmp_path / "nowhere.py"])


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plugin.txt").write_text("hello")
    with pytest.raises(PluginError, match=r"plugin\.txt is no Python file"):
        discover([tmp_path / "plugin.txt"])


def test_a_bundled_name_taken_again_names_both_origins(tmp_path: Path) -> None:
    file = plugin_file(tmp_path / "mine.py", "saliency")
    with pytest.raises(DuplicatePluginError) as error:
        discover([file])
    bundled = discover().get("method", "saliency").origin
    assert (
        str(error.value)
        == f"Two methods are called 'saliency': {bundled} and {file}:6. Rename one of them."
    )


def test_the_same_path_may_be_given_twice(tmp_path: Path) -> None:
    file = plugin_file(tmp_path / "a.py", "given-twice")
    assert "given-twice" in discover([file, file]).names("method")
    assert "given-twice" in discover([file, tmp_path]).names("method")


def test_a_bundled_file_may_be_given_as_a_path() -> None:
    assert "saliency" in discover([bundled_folder() / "methods" / "gradients.py"]).names("method")


def install(site: Path, module: str) -> None:
    """What pip leaves behind of a package with one entry point: the module and its .dist-info."""
    info = site / "third_party-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[interpbench.plugins]\nbright = {module}\n")


def test_an_installed_package_is_found_by_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "installed_by_nobody_else")
    file = plugin_file(tmp_path / "installed_by_nobody_else" / "__init__.py", "from-elsewhere")
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (discover(), discover()):
        assert registry.get("method", "from-elsewhere").origin == f"{file}:6"
    monkeypatch.delitem(sys.modules, "installed_by_nobody_else")


def test_an_installed_package_that_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "third_party_that_is_gone")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        PluginError, match="Entry point bright = third_party_that_is_gone failed to import"
    ) as error:
        discover()
    assert "No module named 'third_party_that_is_gone'" in str(error.value)


def test_a_file_that_was_edited_is_loaded_anew(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = 'from interpbench import method\n\n\n@method("mine")\ndef mine(model, x, target):\n    """{}"""\n'
    path.write_text(text.format("First."))
    assert discover([path]).get("method", "mine").summary == "First."
    path.write_text(text.format("The second version."))
    assert discover([path]).get("method", "mine").summary == "The second version."
