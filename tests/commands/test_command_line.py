"""The command line as a user runs it: exit codes, messages, tables, and a killed run that resumes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interpbench.api import runs
from interpbench.core.errors import RunFolderError
from interpbench.files.csv_files import write_csv
from interpbench.results import run_folder
from tests.command_line import BASE, QUICK, call, command, interpbench, refused, undrawn
from tests.paths import ROOT, TINY

TABLES = ("scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv")
METHODS = ["--method", "center,random,slow:seconds=0.4,gradient"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a run in a process of its own, and what that process said."""
    folder = tmp_path_factory.mktemp("ran") / "run"
    return folder, interpbench(
        "run", *QUICK, "--method", "gradient,random", "--output", str(folder)
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of METHODS that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with undrawn():
        assert call("run", *QUICK, *METHODS, "--output", folder)[0] == 0
    return folder


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (RunFolderError("The disk is full."), 2, "The disk is full."),
        (KeyboardInterrupt(), 130, "Scores and tables are complete; `report` draws the plots"),
    ],
)
def test_the_table_is_shown_before_pictures_are_drawn(
    raised: BaseException, code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(finished: object) -> None:
        raise raised

    monkeypatch.setattr(runs, "redraw", draw)
    output = tmp_path / "run"
    ended, out, error = call("run", *QUICK, "--method", "random", "--output", output)
    assert (ended, said in error) == (code, True), error
    assert re.search(r"random .*\[.*\]", out)
    assert (output / "leaderboard.csv").is_file()


def test_run_shows_the_table_and_writes_tables_and_plots(
    ran: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = ran
    assert done.returncode == 0, done.stderr
    assert re.search(r"gradient .*\[.*\]", done.stdout)
    assert "RANDOM WEIGHTS" in done.stdout
    assert "pointing-game" in done.stdout
    assert {p.name for p in (folder / "plots").iterdir()} == {
        "curves-tiny-quadrants.png",
        "maps-tiny-quadrants.png",
        "quality-time-tiny.png",
        "scores-tiny.png",
        "shares-tiny.png",
    }
    for table in TABLES:
        assert (folder / table).stat().st_size > 0


def test_a_machine_with_cuda_s_compiler_and_no_gpu_is_no_remark(tmp_path: Path) -> None:
    """Where it compiles, torch imports a module that warns of it; the command line is to be quiet."""
    code = (
        "import sys\n"
        "from interpbench.commands.app import main\n"
        "sys.argv = ['interpbench', '--version']\n"
        "try:\n    main()\nexcept SystemExit:\n    import torch.utils.cpp_extension\n"
        "    assert torch.utils.cpp_extension.CUDA_HOME == sys.executable\n"
    )
    environment = os.environ | {
        "CUDA_HOME": sys.executable,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@undrawn()
def test_a_failed_cell_is_shown_and_gives_exit_code_1(tmp_path: Path) -> None:
    code, out, error = call(
        "run", *QUICK, "--method", "gradient", "--method", "raises", "--output", tmp_path / "run"
    )
    assert code == 1, error
    assert "this method is [red]broken[/]" in out
    assert "left behind" in out


@undrawn()
def test_a_ten_line_plugin_appears_beside_the_bundled_methods(tmp_path: Path) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text(
        "from interpbench import method\n\n\n"
        '@method("brightness")\n'
        "def brightness(model, x, target, *, power: float = 1.0):\n"
        '    """Bright pixels."""\n'
        "    return x.mean(dim=1).exp() ** power\n"
    )
    arguments = [*QUICK, "--plugin", str(plugin), "--output", str(tmp_path / "run")]
    code, _, error = call("run", *arguments, "--method", "brightness:power=2,random,center,sobel")
    assert code == 0, error
    board = (tmp_path / "run" / "leaderboard.csv").read_text()
    assert "brightness:power=2.0" in board
    assert "sobel" in board


def test_report_redraws_without_torch_and_without_the_plugins(
    ran: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    shutil.copytree(ran[0], tmp_path / "run")
    before = {p.name: p.read_bytes() for p in (tmp_path / "run" / "plots").iterdir()}
    for plot in (tmp_path / "run" / "plots").iterdir():
        plot.unlink()
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name in ('torch', 'torchvision', 'captum'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent)\n"
        "from interpbench.commands.app import main\n"
        f"for more in ([], ['--html', '--output', {str(tmp_path / 'page.html')!r}]):\n"
        f"    sys.argv = ['interpbench', 'report', {str(tmp_path / 'run')!r}, *more]\n"
        "    try: main()\n"
        "    except SystemExit as done: assert not done.code, done.code"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "gradient" in done.stdout
    assert {p.name: p.read_bytes() for p in (tmp_path / "run" / "plots").iterdir()} == before
    assert (tmp_path / "page.html").read_bytes() == (ran[0] / "report.html").read_bytes()


def test_report_draws_for_a_paper(
    ran: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(ran[0], run)
    drawn = {plot.stem for plot in (run / "plots").iterdir()}
    shutil.rmtree(run / "plots")
    assert "Unknown format 'gif'" in refused("report", run, "--format", "gif")
    assert "expected 1 or 2" in refused("report", run, "--columns", "3")
    assert "leave them out" in refused("report", run, "--html", "--format", "pdf")
    assert "leave them out" in refused("report", run, "--html", "--readme")
    assert "leave them out" in refused("report", run, "--readme", "--columns", "1")
    code, _, error = call("report", run, "--format", "pdf,svg", "--columns", "1")
    assert code == 0, error
    assert {plot.name for plot in (run / "plots").iterdir()} == {
        f"{name}.{suffix}" for name in drawn for suffix in ("pdf", "svg")
    }
    code, lines, _ = call("report", run, "--readme")
    assert code == 0
    for file in re.findall(r'(?:srcset|src)="(.*?)"', lines):
        assert Path(file).is_file()


@pytest.mark.parametrize(
    "cells", [pytest.param(0, marks=pytest.mark.slow), 1, pytest.param(3, marks=pytest.mark.slow)]
)
@undrawn()
def test_a_run_killed_with_sigkill_resumes_to_the_same_bytes(
    tmp_path: Path, whole: Path, cells: int
) -> None:
    arguments = command("run", *QUICK, *METHODS, "--output", str(tmp_path / "killed"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while (
        len(list(tmp_path.glob("killed/cells/*/cell.json"))) < cells
        or not (tmp_path / "killed/run.json").exists()
    ):
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "scores.csv").exists()
    code, _, error = call("run", *QUICK, *METHODS, "--output", tmp_path / "killed", "--resume")
    assert code == 0, error
    for table in TABLES:
        assert (whole / table).read_bytes() == (tmp_path / "killed" / table).read_bytes()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = command(
        "run", *QUICK, "--method", "center,slow:seconds=60", "--output", str(tmp_path / "run")
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        arguments,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with Ctrl-C ignored, and these tests may be such a job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("run/cells/*center*/cell.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.3)  # into the slow method
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"--output {tmp_path / 'run'} and --resume" in error
    assert "Traceback" not in error


@undrawn()
def test_flags_win_over_the_suite_file_and_the_suite_over_defaults(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'name = "mine"\nversion = 3\ndataset = "tiny"\nmodels = ["quadrants"]\nmethods = ["center", "random"]\n'
        'metrics = ["deletion"]\nimages = 4\nseed = 5\n'
    )
    code, _, error = call(
        "run", "--suite", suite, "--weights", "random", "--plugin", TINY, "--method", "sobel", "--images", "6",
        "--output", tmp_path / "run",
    )  # fmt: skip
    assert code == 0, error
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = info["settings"]
    assert (settings["methods"], settings["images"], settings["seed"], settings["target"]) == (
        ["sobel"],
        6,
        5,
        "predicted",
    )
    assert info["suite"]["name"] == "mine"


def printed(*arguments: object) -> str:
    """What a command prints that must succeed."""
    code, out, error = call(*arguments)
    assert code == 0, error
    return out


def test_list_and_show() -> None:
    everything = printed("list")
    for name in ("gradcam", "resnet18", "planted", "pointing-game", "quick"):
        assert name in everything
    methods = printed("list", "methods")
    assert "occlusion" in methods
    assert "resnet18" not in methods
    shown = printed("show", "occlusion")
    for part in ("window", "int > 0 | none", "Zeiler", "perturbation.py"):
        assert part in shown
    assert "brightness" not in methods
    assert "gradient" in printed("list", "methods", "--plugin", TINY)
    assert 'dataset = "planted"' in printed("show", "quick")


def test_help_and_version_answer() -> None:
    assert "train" in printed("--help")
    assert re.match(r"interpbench \d+\.\d+", printed("--version"))


def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    code, out, error = call("run", "--method", "gradcma", "--output", tmp_path / "run")
    assert (code, out) == (2, "")
    assert error.startswith("Error: Unknown method 'gradcma'. Did you mean 'gradcam'")
    assert "Traceback" not in error


def test_wrong_names_suggest_the_near_ones(tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "run")]
    assert "Did you mean 'gradcam'" in refused("run", "--method", "gradcma", *output)
    assert "Did you mean 'resnet18'" in refused("run", "--model", "resnet-18", *output)
    assert "Did you mean 'deletion'" in refused("run", "--metric", "deltion", *output)
    assert "Did you mean 'planted'" in refused("run", "--dataset", "plantet", *output)
    assert "Did you mean 'quick'" in refused("run", "--suite", "quik", *output)
    assert "Did you mean 'window'" in refused("run", "--method", "occlusion:windwo=3", *output)
    assert "Did you mean 'methods'" in refused("list", "methodes")
    assert "Did you mean 'gradcam'" in refused("show", "grad-cam")
    assert "--metod" in refused("run", "--metod", "gradcam")
    assert not (tmp_path / "run").exists()


def test_wrong_values_say_what_was_expected(tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "run")]
    assert "expected int > 0 | none" in refused("run", "--method", "occlusion:window=wide", *output)
    assert "key 'images'" in refused("run", "--images", "0", *output)
    assert "key 'target'" in refused("run", "--target", "best", *output)
    assert "positive number or `auto`" in refused("run", "--batch-size", "big", *output)
    assert "fp32" in refused("run", "--precision", "fp8", *output)
    assert "cuda:N" in refused("run", "--device", "gpu", *output)
    assert "--output" in refused("run", "--resume")
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif("__import__('torch').cuda.is_available()", reason="the device is there")
def test_an_absent_device_is_named(tmp_path: Path) -> None:
    assert "Device 'cuda' is absent" in refused(
        "run", "--device", "cuda", "--output", str(tmp_path / "run")
    )


def test_wrong_suite_files_name_the_key(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    good = 'name = "mine"\ndataset = "tiny"\nmodels = ["quadrants"]\nmethods = ["center"]\nmetrics = ["deletion"]\n'
    suite.write_text(good + "imgaes = 4\n")
    assert "Unknown key 'imgaes'. Did you mean 'images'" in refused("run", "--suite", str(suite))
    suite.write_text(good + 'images = "many"\n')
    assert "key 'images'" in refused("run", "--suite", str(suite))
    suite.write_text(good + "images = = 4\n")
    assert "no valid TOML" in refused("run", "--suite", str(suite))
    assert "cannot be read" in refused("run", "--suite", str(tmp_path / "absent.toml"))


def test_wrong_data_and_weights_say_what_to_do(tmp_path: Path) -> None:
    output = ["--output", str(tmp_path / "run")]
    absent = str(tmp_path / "absent")
    assert "no image folder" in refused("run", "--dataset", f"imagefolder:root={absent}", *output)
    assert "--download" in refused("run", "--dataset", "cifar10", "--data-root", absent, *output)
    assert "--download" in refused("run", "--dataset", "imagenette", "--data-root", absent, *output)
    (tmp_path / "images" / "empty-class").mkdir(parents=True)
    folder = f"imagefolder:root={tmp_path / 'images'}"
    assert "empty-class' holds no images" in refused("run", "--dataset", folder, *output)
    assert "There is no weights' file" in refused(
        "run", *BASE, "--weights", absent + ".safetensors", *output
    )
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"not weights at all")
    assert "corrupt.safetensors" in refused(
        "run", "--model", "resnet18", "--weights", str(corrupt), *output
    )
    assert not (tmp_path / "run").exists()


def test_a_plugin_file_with_a_syntax_error_is_named(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("def oops(:\n")
    assert "broken.py:1: syntax error" in refused("run", *QUICK, "--plugin", str(plugin))
    assert "No plugin file or folder" in refused("run", "--plugin", str(tmp_path / "absent.py"))


def test_an_output_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Cannot write to" in refused(
        "run", *QUICK, "--method", "center", "--output", str(tmp_path / "file" / "run")
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_says_how_to_go_on(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are written to a device that is always full."""
    shutil.copytree(whole, tmp_path / "run")
    again = ["run", *QUICK, *METHODS, "--output", tmp_path / "run", "--resume"]
    with monkeypatch.context() as full:
        full.setattr(
            run_folder, "write_csv", lambda frame, path: write_csv(frame, Path("/dev/full"))
        )
        message = refused(*again)
    assert "No space left" in message
    assert "--resume" in message
    assert not list((tmp_path / "run").glob(".*partial*"))
    assert call(*again)[0] == 0


def test_a_plan_says_what_a_run_would_cost_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    wanted = ["run", *QUICK, "--method", "gradient,random,raises", "--ceiling", "none"]
    wanted += ["--block-size", "2", "--batch-size", "2", "--workers", "3", "--output", "run"]
    code, out, error = call(*wanted, "--plan")
    assert code == 0, error
    assert re.search(r"gradient +8 +8 ", out)
    assert re.search(r"deletion +240 ", out)  # two maps of eight images, fifteen points
    assert "quadrants: 4 blocks of 2 images at most, 2 a pass" in out
    assert "By 3 workers" in out
    assert "fails on quadrants" in out
    assert {"Time:", "Memory:", "Disk:"} <= set(out.split())
    assert list(tmp_path.iterdir()) == []


def test_a_plan_of_what_cannot_be_run_is_refused() -> None:
    assert "'gradient'" in refused("run", *QUICK, "--method", "gradiant", "--plan")
    assert "--resume" in refused("run", *QUICK, "--plan", "--resume", "--output", "there")
