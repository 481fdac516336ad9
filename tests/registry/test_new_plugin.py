"""`new method`: files that work as they are written, and names that are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from interpbench.registry.discovery import discover
from tests.command_line import call, refused
from tests.paths import ROOT


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], capture_output=True, text=True, env=environment
    )


def test_the_written_method_passes_check_and_its_test_passes_as_long_as_it_is_the_same(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call("new", "method", "my-cam")
    assert code == 0
    assert sorted(path.name for path in here.iterdir()) == ["my_cam.py", "test_my_cam.py"]
    assert len((here / "my_cam.py").read_text().splitlines()) < 30
    lines = [line.split("  #")[0].split()[2:] for line in out.splitlines() if line.startswith("  ")]
    assert [line[1] for line in lines] == ["check", "run", "test_my_cam.py"]
    code, out, _ = call(*lines[0][1:])
    assert code == 0
    assert "method my-cam (" in out
    assert refused("check", "my-cam").endswith("To check the one in a file, write: check my_cam.py")
    call("new", "method", "changed")
    text = (here / "changed.py").read_text()
    (here / "changed.py").write_text(text.replace("abs().amax(dim=1)", "abs().mean(dim=1)"))
    checked = ["--deselect", "test_my_cam.py::test_it_keeps_its_contracts"]
    pytest.main(
        [
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:xdist",
            "--rootdir",
            str(here),
            *checked,
            str(here),
        ]
    )
    said = capsys.readouterr().out
    assert "FAILED test_changed.py::test_of_a_linear_model_it_is_the_weight" in said
    assert "1 failed, 17 passed, 16 deselected" in said


@pytest.mark.parametrize(
    "name", ["x", "class", "method", "a.b-c_d", "a-name-of-some-length-such-as-a-paper-may-have"]
)
@pytest.mark.parametrize("width", ["88", "120"])
def test_what_is_written_is_as_ruff_wants_it(name: str, width: str) -> None:
    assert call("new", "method", name, "--output", "mine.py")[0] == 0
    first = 'lint.isort.known-first-party=["interpbench"]'
    chosen = ["--isolated", "--config", first, "--config", f"line-length={width}"]
    rules = "E,F,W,I,B,UP,SIM,RUF,PT,C4,PIE,RET"
    linted = run("ruff", "check", *chosen, "--select", rules, "--ignore", "E501", "--no-cache", ".")
    assert linted.returncode == 0, linted.stdout
    formatted = run("ruff", "format", "--check", "--diff", *chosen, "--no-cache", ".")
    assert formatted.returncode == 0, formatted.stdout
    assert discover(["mine.py"]).configure("method", name, {"times_input": "true"}).values == {
        "times_input": True
    }


@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_other_kinds_are_written_likewise(kind: str) -> None:
    names = ("x", kind, "a-name-of-some-length-such-as-a-paper-may-have")
    for number, name in enumerate(names):
        code, out, _ = call("new", kind, name, "--output", f"mine_{number}.py")
        assert code == 0
        assert f"run --plugin mine_{number}.py --{kind} {name} " in out
    first = 'lint.isort.known-first-party=["interpbench"]'
    chosen = ["--isolated", "--config", first, "--config", "line-length=100", "--no-cache"]
    rules = ["--select", "E,F,W,I,B,UP,SIM,RUF,PT,C4,PIE,RET", "--ignore", "E501"]
    linted = run("ruff", "check", *chosen, *rules, ".")
    assert linted.returncode == 0, linted.stdout
    formatted = run("ruff", "format", "--check", "--diff", *chosen, ".")
    assert formatted.returncode == 0, formatted.stdout


def test_a_folder_and_a_file_elsewhere_can_be_named(here: Path) -> None:
    (here / "folder").mkdir()
    assert call("new", "method", "one", "--output", "folder")[0] == 0
    assert call("new", "method", "two", "--output", "deep/er/file.py")[0] == 0
    assert (here / "folder" / "test_one.py").is_file()
    assert 'with_name("file.py")' in (here / "deep" / "er" / "test_file.py").read_text()


def test_no_file_is_overwritten(here: Path) -> None:
    (here / "mine.py").write_text("mine")
    assert "mine.py is there already" in refused("new", "method", "mine")
    (here / "test_other.py").write_text("mine")
    assert "test_other.py is there already" in refused("new", "method", "other")
    assert {path.name: path.read_text() for path in here.iterdir()} == {
        "mine.py": "mine",
        "test_other.py": "mine",
    }


def test_a_name_that_is_taken_is_refused_with_its_origin_and_a_free_one(here: Path) -> None:
    message = refused("new", "method", "saliency")
    assert "A method is called 'saliency' already (" in message
    assert "gradients.py:" in message
    assert "such as 'my-saliency'" in message
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("method", "My Method"), "no name for a method: .* Did you mean 'my-method'?"),
        (("method", "3d"), "a letter first. Did you mean 'my-3d'?"),
        (("method", "!"), "a letter first.$"),
        (("method", "test-cam"), "test_cam.py would be taken for a test"),
        (("method", "torch"), "torch.py would hide the module 'torch'"),
        (("method", "tokenize"), "tokenize.py would hide the module 'tokenize'"),
        (("method", "mine", "--output", "mine.txt"), "mine.txt is no Python file"),
        (("method", "mine", "--output", "file/mine.py"), "Cannot write file/mine.py"),
        (
            ("thing", "mine"),
            "writes a method, a model, a dataset or a metric, not 'thing': new method NAME.$",
        ),
    ],
)
def test_wrong_usage_is_refused(here: Path, arguments: tuple[str, ...], message: str) -> None:
    (here / "file").touch()
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(refused("new", *arguments))
    assert [path.name for path in here.iterdir()] == ["file"]
