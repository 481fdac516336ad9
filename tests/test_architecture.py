"""The house, read off its source: which room may use which, and what a room may not do."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import interpbench
from interpbench.registry.bundled_folder import bundled_folder
from interpbench.registry.discovery import discover
from interpbench.registry.plugin import KINDS
from tests.paths import ROOT

PACKAGE = Path(interpbench.__file__).parent
PLUGINS = sorted(bundled_folder().rglob("*.py"))
SOURCES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] != "plugins"
)

# Each room, and the rooms that it may use besides `core`. All of these stand above it, so that there are no circles.
ROOMS: dict[str, set[str]] = {
    "core": set(),
    "files": set(),
    "drawing": set(),
    "registry": {"files"},
    "toolbox": set(),
    "fast": {"files"},
    "suite": {"files", "registry"},
    "loading": {"files", "registry"},
    "diagnosis": {"registry", "loading"},
    "results": {"files", "suite"},
    "scoring": {"registry", "fast", "suite"},
    "attribution": {"registry", "loading", "diagnosis"},
    "running": {
        "files",
        "registry",
        "fast",
        "suite",
        "loading",
        "results",
        "scoring",
        "attribution",
    },
    "report": {"files", "drawing", "suite", "results"},
    "publish": {"files", "registry", "suite", "results", "running", "report"},
    "studies": {
        "files",
        "drawing",
        "registry",
        "toolbox",
        "suite",
        "loading",
        "diagnosis",
        "results",
        "scoring",
        "attribution",
        "running",
    },
    "training": {"files", "drawing", "registry", "loading"},
    "testing": {"registry", "fast", "loading", "attribution", "scoring"},
}
FACE = "face"  # `api` and the files beside the rooms; they and the commands may use every room
WITHOUT_TORCH = ("suite", "results", "report", "drawing")
FAST_IS_FOR = {"fast", "scoring", "running", "testing", FACE}
PUBLIC_FACES = ("api", "testing")  # rooms whose __init__ says what users import from them
MOST_ENTRIES, MOST_PARAMETERS, MOST_CHARACTERS = 22, 8, 100


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    """A file as one finds it: `scoring/curves.py`."""
    return path.relative_to(PACKAGE).as_posix()


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 and parts[0] != "api" else FACE


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below `node` but for the bodies of `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from running(child)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of all that a file imports, in functions too; no name where a whole module is imported."""
    for node in running(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno} imports relatively"
            yield from ((str(node.module), alias.name) for alias in node.names)


def rooms_used(path: Path) -> set[str]:
    """The rooms whose modules a file imports; FACE for what stands beside them."""
    used = set()
    for module, name in imports(path):
        package, *below = [*module.split("."), name]
        if package == "interpbench":
            used.add(below[0] if below[0] in (*ROOMS, "commands") else FACE)
    return used


def wrong(findings: Iterator[str]) -> None:
    """Fails with everything that a rule forbids."""
    found = list(findings)
    assert not found, "\n".join(found)


def test_rooms_are_all_there_is() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders - {"plugins"} == {*ROOMS, "api", "commands"}
    no_rooms = ("plugins", "py.typed", "__pycache__")
    entries = [path.name for path in PACKAGE.iterdir() if path.name not in no_rooms]
    assert len(entries) <= MOST_ENTRIES, entries


def test_a_room_uses_only_rooms_above_it() -> None:
    above: set[str] = set()
    for room, uses in ROOMS.items():
        assert uses <= above, f"{room} uses {uses - above}, which stands below it"
        above.add(room)


def test_a_module_uses_only_the_rooms_that_its_room_may_use() -> None:
    def forbidden() -> Iterator[str]:
        for path in SOURCES:
            room = room_of(path)
            if room in ROOMS:
                for other in sorted(rooms_used(path) - ROOMS[room] - {room, "core"}):
                    yield f"{named(path)} imports from {other}"

    wrong(forbidden())


def test_every_permission_is_used() -> None:
    used = {room: set[str]() for room in ROOMS}
    for path in SOURCES:
        if room_of(path) in ROOMS:
            used[room_of(path)] |= rooms_used(path)
    assert {room: uses - used[room] for room, uses in ROOMS.items() if uses - used[room]} == {}


def test_fast_is_used_where_speed_is_the_matter_alone() -> None:
    assert {room_of(path) for path in SOURCES if "fast" in rooms_used(path)} <= FAST_IS_FOR


def test_a_folder_s_init_holds_no_code() -> None:
    def code() -> Iterator[str]:
        for path in SOURCES:
            is_room = path.name == "__init__.py" and path.parent != PACKAGE
            if is_room and path.parent.name not in PUBLIC_FACES:
                docstring, *rest = tree(path).body
                if rest or not isinstance(docstring, ast.Expr):
                    yield f"{named(path)} holds more than one sentence on the room"

    wrong(code())


def test_no_module_takes_another_s_private_name() -> None:
    wrong(
        f"{named(path)} takes {name} from {module}"
        for path in SOURCES
        for module, name in imports(path)
        if module.startswith("interpbench") and name.startswith("_") and not name.startswith("__")
    )


def test_no_room_is_called_like_a_public_name() -> None:
    assert not set(interpbench.__all__) & {*ROOMS, "commands"}


def test_public_names_are_where_the_package_says() -> None:
    decorators = {"method", "model", "dataset", "metric", "reference", "metric_reference"}
    assert set(interpbench.__all__) == set(interpbench._HOMES) | decorators
    assert set(interpbench.__all__) <= set(dir(interpbench))
    for name, home in interpbench._HOMES.items():
        assert getattr(interpbench, name) is getattr(sys.modules[f"interpbench.{home}"], name)


def test_plugins_import_only_the_top_of_the_package() -> None:
    wrong(
        f"{path.name} imports {module}"
        for path in PLUGINS
        for module, _ in imports(path)
        if module.split(".")[0] == "interpbench" and module != "interpbench"
    )


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    yield from (
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def test_nothing_below_the_face_takes_more_than_eight_parameters() -> None:
    def long_lists() -> Iterator[str]:
        for path in SOURCES:
            if room_of(path) in (FACE, "commands"):
                continue
            for function in functions(path):
                given = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
                count = sum(argument.arg not in ("self", "cls") for argument in given)
                # What users import is of the face, wherever it stands.
                if count > MOST_PARAMETERS and function.name not in interpbench.__all__:
                    yield f"{named(path)}:{function.lineno} {function.name} takes {count}"

    wrong(long_lists())


def test_no_line_is_longer_than_one_reads_at_a_glance() -> None:
    wrong(
        f"{named(path)}:{number} has {len(line)} characters"
        for path in SOURCES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > MOST_CHARACTERS
    )


# Where a mapping with any values is what it is: parameters of plugins as users write them, settings of suites and
# recipes, containers that JSON knows, what torch keeps of an optimiser, arguments of functions that are watched.
OPEN_BY_NATURE = {
    "running/executors.py",  # arguments of interpbench.run
    "registry/plugin.py", "registry/registry.py", "suite/suite.py", "suite/selection.py", "files/records.py",
    "files/toml_settings.py", "training/recipe.py", "training/checkpoint.py", "training/loop.py",
    "training/optimise.py", "toolbox/backward_rules.py", "core/activations.py", "diagnosis/own_activations.py",
}  # fmt: skip
UNTYPED = re.compile(r"\b(dict|Mapping)\[[^\[\]]*(\[[^\[\]]*\])?[^\[\]]*\b(Any|object)\]")


def test_no_untyped_dict_crosses_a_room() -> None:
    """Nothing that a module offers takes, gives or holds a mapping of which only the keys are known."""

    def untyped() -> Iterator[str]:
        for path in SOURCES:
            if named(path) in OPEN_BY_NATURE or room_of(path) in ("commands", "testing"):
                continue
            for node in offered(tree(path)):
                if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "parameters":
                    continue  # of a plugin, whose own annotations say what they are
                if isinstance(node, ast.FunctionDef) and node.name == "contents":
                    continue  # of a record, for JSON
                annotations = [ast.unparse(found) for found in annotations_of(node)]
                if any(UNTYPED.search(text) for text in annotations):
                    yield f"{named(path)}:{node.lineno} {ast.unparse(node).splitlines()[0]}"

    wrong(untyped())


def offered(module: ast.AST) -> Iterator[ast.stmt]:
    """The functions, methods and attributes that are not private, and fields with an annotation."""
    for node in ast.iter_child_nodes(module):
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from offered(node)
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node
        if isinstance(node, ast.AnnAssign) and not ast.unparse(node.target).startswith("_"):
            yield node


RECORDS = ("run.json", "cell.json")
KEEP_RECORDS = (
    "results/run_folder.py",
    "results/cell_folder.py",
    "publish/submission.py",
    "publish/publishing.py",
)


def test_a_run_s_records_have_one_reader_and_one_writer() -> None:
    wrong(
        f"{named(path)} knows {text}"
        for path in SOURCES
        for text in strings(path) & set(RECORDS)
        if named(path) not in KEEP_RECORDS
    )


def annotations_of(node: ast.stmt) -> list[ast.expr]:
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    assert isinstance(node, ast.FunctionDef)
    given = [*node.args.args, *node.args.kwonlyargs]
    return [found for found in (*(a.annotation for a in given), node.returns) if found is not None]


def strings(path: Path) -> set[str]:
    """The text constants of a module that are no docstrings."""
    nodes = list(ast.walk(tree(path)))
    alone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in nodes
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
    }


# Words that are also a plugin's name: untrained weights, matplotlib's alignment, packages whose version is noted,
# the weights that libraries offer, a test of the study of sanity, a column of maps.
ANOTHER_MEANING = {"random", "center", "torchvision", "imagenet", "random-logit", "saliency"}
# What commands and calls take where nothing is named.
DEFAULTS = {
    "planted", "resnet18", "efficientnet_lite0", "gradcam", "gradient-x-input", "guided-backprop",
    "integrated-gradients", "layercam", "lrp-z-plus", "saliency", "sobel", "relevance-mass", "energy-inside",
}  # fmt: skip
MAY_NAME_DEFAULTS = ("commands", "studies", "diagnosis", FACE)


def test_the_core_names_no_plugin() -> None:
    registry = discover()
    plugins = {name for kind in KINDS for name in registry.names(kind)}
    assert {"gradcam", "resnet18", "planted", "deletion"} <= plugins
    wrong(
        f"{named(path)} names {name!r}"
        for path in SOURCES
        for name in strings(path) & plugins - ANOTHER_MEANING
        if not (name in DEFAULTS and room_of(path) in MAY_NAME_DEFAULTS)
    )


def test_logarithmic_axes_have_plain_numbers() -> None:
    wrong(
        f"{named(path)} calls {scale}: use drawing.style.logarithmic, whose numbers are no formulas"
        for path in SOURCES
        if named(path) != "drawing/style.py"
        for scale in re.findall(r'set_[xy]scale\("log"|semilog|loglog', path.read_text())
    )


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
    )


def test_what_a_suite_asks_for_and_a_finished_run_need_no_torch() -> None:
    modules = [
        ".".join(["interpbench", *path.relative_to(PACKAGE).with_suffix("").parts])
        for path in SOURCES
        if room_of(path) in WITHOUT_TORCH
        or path.parent.name == "api"
        or named(path) == "commands/app.py"
    ]
    code = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'torch' not in sys.modules, name\n"
    )
    done = python("-c", code)
    assert done.returncode == 0, done.stderr


def test_help_does_not_import_torch() -> None:
    done = python("-X", "importtime", "-m", "interpbench", "--help")
    assert done.returncode == 0, done.stderr
    assert "run" in done.stdout
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "interpbench.commands.app" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "matplotlib", "scipy"}
