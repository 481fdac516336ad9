"""The command line as a user runs it: exit codes, messages, tables, and a killed run that resumes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command_line import BASE, QUICK, command, interpbench, refused
from tests.paths import ROOT, TINY

TABLES = ("scores.csv", "scores.parquet", "curves.parquet", "leaderboard.csv")


def test_run_shows_the_table_and_writes_tables_and_plots(tmp_path: Path) -> None:
    done = interpbench("run", *QUICK, "--method", "gradient,random", "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"gradient .*\[.*\]", done.stdout)
    assert "RANDOM WEIGHTS" in done.stdout
    assert "pointing-game" in done.stdout
    assert {p.name for p in (tmp_path / "run" / "plots").iterdir()} == {
        "curves-tiny-quadrants.png",
        "maps-tiny-quadrants.png",
        "quality-time-tiny.png",
        "scores-tiny.png",
        "shares-tiny.png",
    }
    for table in TABLES:
        assert (tmp_path / "run" / table).stat().st_size > 0


def test_a_failed_cell_is_shown_and_gives_exit_code_1(tmp_path: Path) -> None:
    done = interpbench("run", *QUICK, "--method", "gradient", "--method", "raises", "--output", str(tmp_path / "run"))
    assert done.returncode == 1, done.stderr
    assert "this method is [red]broken[/]" in done.stdout
    assert "left behind" in done.stdout


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
    done = interpbench("run", *arguments, "--method", "brightness:power=2,random,center,sobel")
    assert done.returncode == 0, done.stderr
    board = (tmp_path / "run" / "leaderboard.csv").read_text()
    assert "brightness:power=2.0" in board
    assert "sobel" in board


def test_report_redraws_without_torch_and_without_the_plugins(tmp_path: Path) -> None:
    interpbench("run", *QUICK, "--method", "gradient,random", "--output", str(tmp_path / "run"))
    before = {p.name: p.read_bytes() for p in (tmp_path / "run" / "plots").iterdir()}
    for plot in (tmp_path / "run" / "plots").iterdir():
        plot.unlink()
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name in ('torch', 'torchvision', 'captum'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent)\n"
        f"sys.argv = ['interpbench', 'report', {str(tmp_path / 'run')!r}]\n"
        "from interpbench.commands.app import main; main()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "gradient" in done.stdout
    assert {p.name: p.read_bytes() for p in (tmp_path / "run" / "plots").iterdir()} == before


@pytest.mark.parametrize("cells", [0, 1, 3])
def test_a_run_killed_with_sigkill_resumes_to_the_same_bytes(tmp_path: Path, cells: int) -> None:
    methods = ["--method", "center,random,slow:seconds=0.4,gradient"]
    assert interpbench("run", *QUICK, *methods, "--output", str(tmp_path / "whole")).returncode == 0
    arguments = command("run", *QUICK, *methods, "--output", str(tmp_path / "killed"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("killed/cells/*/cell.json"))) < cells or not (tmp_path / "killed/run.json").exists():
        assert process.poll() is None, "finished before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "scores.csv").exists()
    done = interpbench("run", *QUICK, *methods, "--output", str(tmp_path / "killed"), "--resume")
    assert done.returncode == 0, done.stderr
    for table in TABLES:
        assert (tmp_path / "whole" / table).read_bytes() == (tmp_path / "killed" / table).read_bytes()


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = command("run", *QUICK, "--method", "center,slow:seconds=60", "--output", str(tmp_path / "run"))
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


def test_flags_win_over_the_suite_file_and_the_suite_over_defaults(tmp_path: Path) -> None:
    suite = tmp_path / "mine.toml"
    suite.write_text(
        'name = "mine"\nversion = 3\ndataset = "tiny"\nmodels = ["quadrants"]\nmethods = ["center", "random"]\n'
        'metrics = ["deletion"]\nimages = 4\nseed = 5\n'
    )
    done = interpbench(
        "run", "--suite", str(suite), "--weights", "random", "--plugin", str(TINY), "--method", "sobel",
        "--images", "6", "--output", str(tmp_path / "run"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    settings = info["settings"]
    assert (settings["methods"], settings["images"], settings["seed"], settings["target"]) == (
        ["sobel"],
        6,
        5,
        "predicted",
    )
    assert info["suite"]["name"] == "mine"


def test_list_and_show() -> None:
    everything = interpbench("list").stdout
    for name in ("gradcam", "resnet18", "planted", "pointing-game", "quick"):
        assert name in everything
    methods = interpbench("list", "methods").stdout
    assert "occlusion" in methods
    assert "resnet18" not in methods
    shown = interpbench("show", "occlusion").stdout
    for part in ("window", "int > 0 | none", "Zeiler", "perturbation.py"):
        assert part in shown
    assert "brightness" not in methods
    assert "gradient" in interpbench("list", "methods", "--plugin", str(TINY)).stdout
    assert 'dataset = "planted"' in interpbench("show", "quick").stdout


def test_help_and_version_answer_without_torch() -> None:
    assert "train" in interpbench("--help").stdout
    assert re.match(r"interpbench \d+\.\d+", interpbench("--version").stdout)
    program = "import sys, interpbench.commands.app; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", program], env=environment).returncode == 0


def test_wrong_input_is_one_message_and_exit_code_2(tmp_path: Path) -> None:
    done = interpbench("run", "--method", "gradcma", "--output", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: Unknown method 'gradcma'. Did you mean 'gradcam'")
    assert "Traceback" not in done.stderr


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
    assert "Device 'cuda' is absent" in refused("run", "--device", "cuda", "--output", str(tmp_path / "run"))


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
    assert "There is no weights' file" in refused("run", *BASE, "--weights", absent + ".safetensors", *output)
    corrupt = tmp_path / "corrupt.safetensors"
    corrupt.write_bytes(b"not weights at all")
    assert "corrupt.safetensors" in refused("run", "--model", "resnet18", "--weights", str(corrupt), *output)
    assert not (tmp_path / "run").exists()


def test_a_plugin_file_with_a_syntax_error_is_named(tmp_path: Path) -> None:
    plugin = tmp_path / "broken.py"
    plugin.write_text("def oops(:\n")
    assert "broken.py:1: syntax error" in refused("run", *QUICK, "--plugin", str(plugin))
    assert "No plugin file or folder" in refused("run", "--plugin", str(tmp_path / "absent.py"))


def test_an_output_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "Cannot write to" in refused("run", *QUICK, "--method", "center", "--output", str(tmp_path / "file" / "run"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_an_error_that_says_how_to_go_on(tmp_path: Path) -> None:
    """The scores' temporary file is a link to a device that is always full."""
    output = ["--output", str(tmp_path / "run")]
    assert interpbench("run", *QUICK, "--method", "center,random", *output).returncode == 0
    (tmp_path / "run" / ".scores.csv.partial").symlink_to("/dev/full")
    message = refused("run", *QUICK, "--method", "center,random", *output, "--resume")
    assert "No space left" in message
    assert "--resume" in message
    (tmp_path / "run" / ".scores.csv.partial").unlink()
    assert interpbench("run", *QUICK, "--method", "center,random", *output, "--resume").returncode == 0
