"""What shells complete: as bash asks, and without importing what takes long."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from interpbench.registry.bundled_names import FILE, names_as_csv
from tests.paths import ROOT

MAIN = "import sys; sys.argv[0] = 'interpbench'; from interpbench.commands.app import main; main()"

# Asks for each line as typer's script for bash does, in one process, and says what was imported.
ASK = """
import contextlib, io, json, os, sys
from interpbench.commands.app import main
sys.argv = ["interpbench"]
answers = {}
for line in json.loads(os.environ["LINES_TO_COMPLETE"]):
    os.environ |= {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split(" ")) - 1)}
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main()
    answers[line] = out.getvalue().split()
print(json.dumps([answers, sorted(sys.modules)]))
"""
LINES = {
    "interpbench sta": ["stability"],
    "interpbench run --met": ["--method", "--metric"],
    "interpbench run --method gradcam": ["gradcam", "gradcam-plus-plus"],
    "interpbench run --method gradcam,occ": ["gradcam,occlusion"],
    "interpbench explain cat --method hires": ["hirescam"],
    "interpbench run --model resnet1": ["resnet18"],
    "interpbench doctor mobilenet_v3": ["mobilenet_v3_large", "mobilenet_v3_small"],
    "interpbench run --dataset oxf": ["oxford-iiit-pet"],
    "interpbench run --metric del": ["deletion"],
    "interpbench run --metric protocol:ro": ["protocol:road", "protocol:road-gradcam"],
    "interpbench run --suite imagenette": ["imagenette", "imagenette-224"],
    "interpbench train --recipe fine": ["fine-tune"],
    "interpbench show lrp-z": ["lrp-z-plus"],
    "interpbench list prep": ["preparations"],
    "interpbench run --method no-such-name": [],
}


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT)} | more


def test_names_are_completed_without_what_takes_long() -> None:
    asked = {"_INTERPBENCH_COMPLETE": "complete_bash", "LINES_TO_COMPLETE": json.dumps([*LINES])}
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment(**asked),
        capture_output=True,
        text=True,
        check=True,
    )
    answers, modules = json.loads(done.stdout)
    assert answers == LINES
    assert not {"torch", "numpy", "pandas", "matplotlib", "scipy"} & {*modules}


def test_the_file_of_names_is_that_of_the_plugins() -> None:
    assert FILE.read_text(encoding="utf-8") == names_as_csv(), (
        "Write it again: python -m interpbench.registry.bundled_names"
    )


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    program = tmp_path / "interpbench"
    program.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-c", MAIN])} "$@"\n')
    program.chmod(0o755)
    script = (
        f'eval "$({shlex.quote(sys.executable)} -m interpbench --show-completion bash)"\n'
        "COMP_WORDS=(interpbench run --method sobol); COMP_CWORD=3\n"
        "complete -p interpbench\n"
        "_interpbench_completion interpbench; echo ${COMPREPLY[@]}\n"
    )
    done = subprocess.run(
        ["bash", "-c", script],
        env=environment(
            PATH=f"{tmp_path}:{os.environ['PATH']}",
            _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1",
        ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "sobol-attribution", done.stderr
