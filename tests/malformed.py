"""What people and files hand in that is not what it should be; and strategies that mix it with what is.

A strategy gives pairs: what is handed in, and whether it is to be taken. So whatever is taken must have been right, and
whatever was right must be taken.
"""

import json
from dataclasses import asdict
from typing import Any

from hypothesis import strategies as st

from interpbench.loading.weights import WeightsCard

HUGE = "9" * 5000
DEEP = "[" * 3000 + "]" * 3000
LONG = "x" * 5000
# Written as TOML. None of them is a number that a setting may have.
BAD_NUMBERS = [
    "-1", "1e400", "inf", "-inf", "nan", "true", "false", '"3"', '"٣"', HUGE, "0x" + "f" * 5000, "[]", "{}", "[[1]]",
    "1979-05-27", '"\\u0000"', '""', "2.5", "9223372036854775808", DEEP,
]  # fmt: skip
BAD_COUNTS = [*BAD_NUMBERS, "0"]
BAD_NAMES = [
    '"../x"', '"/x"', '"con"', '"nul.txt"', '"COM1"', '"a."', '"a "', '" a"', '"."', '".."', '""', '"a/b"', '"a\\\\b"',
    f'"{LONG}"', '"\\u001b[31m"', '"a\\u0000b"', '"a\\nb"', "3", "true", "[]",
]  # fmt: skip
BAD_LISTS = ['"saliency"', "[1]", "3", "true", "{}", "[[]]", DEEP]
BAD_SHARES = ["1.5", "-0.1", "nan", "inf", "1e400", "true", HUGE]

# Kind of settings -> key -> values that are right, and values that are not.
SUITE = {
    "name": (['"mine"', '"My suite 2"', '"ä-1.2"'], BAD_NAMES),
    "version": (["1", "7"], BAD_COUNTS),
    "dataset": (['"planted"'], ["3", "[]", "true"]),
    "models": (['["resnet18"]', '["a", "b"]'], BAD_LISTS),
    "methods": (['["saliency"]'], BAD_LISTS),
    "metrics": (['["deletion"]'], BAD_LISTS),
    "images": (["1", "500"], BAD_COUNTS),
    "steps": (["1", "224"], BAD_COUNTS),
    "ceiling": (["2", "16", '"none"'], [*BAD_COUNTS, "1", "17", '"all"']),
    "target": (['"predicted"', '"label"'], ['"x"', "3", "true", f'"{LONG}"']),
    "seed": (["0", "9223372036854775807"], BAD_NUMBERS),
}
PREPARATION = {
    "size": (["224", "[64, 96]"], [*BAD_COUNTS, "32769", "[1]", "[0, 3]", "[1, 2, 3]"]),
    "resize": (["0", "256"], [*BAD_NUMBERS, "32769"]),
    "interpolation": (['"bicubic"'], ['"cubic"', "3"]),
    "channels": (['"rgb"', '"own"'], ['"RGB"', "3"]),
    "range": (["1", "255"], ["2", "nan", "true"]),
    "mean": (
        ["0.5", "[0.1, 0.2, 0.3]", "0"],
        ["nan", "inf", "[nan]", "true", "[true]", '["0.5"]', "[[1]]", "1e400"],
    ),
    "std": (["0.5", "[0.1, 0.2, 0.3]"], ["nan", "inf", "[-inf]", "true", "[false]", '"0.5"']),
}
RECIPE = {
    "epochs": (["1", "30"], BAD_COUNTS),
    "batch_size": (["1", "64"], BAD_COUNTS),
    "size": (["32"], BAD_COUNTS),
    "seed": (["0"], BAD_NUMBERS),
    "optimiser": (
        ["{lr = 0.1}"],
        ["{lr = inf}", "{lr = nan}", "{lr = -1}", "{lr = true}", "{rl = 1}", "3", DEEP],
    ),
}
REQUIRED = ("name", "dataset", "models", "methods", "metrics")


@st.composite
def settings_files(
    draw: st.DrawFn, keys: dict[str, tuple[list[str], list[str]]]
) -> tuple[str, bool]:
    """A TOML file with some of the keys, at most two of them wrong."""
    chosen = draw(st.lists(st.sampled_from(sorted(keys)), unique=True, max_size=len(keys)))
    chosen = list(dict.fromkeys([*(key for key in REQUIRED if key in keys), *chosen]))
    wrong = (
        set(draw(st.lists(st.sampled_from(chosen), unique=True, max_size=2))) if chosen else set()
    )
    lines = [f"{key} = {draw(st.sampled_from(keys[key][key in wrong]))}" for key in chosen]
    return "\n".join(draw(st.permutations(lines))) + "\n", not wrong


CARD = WeightsCard(
    "resnet18", {"width": 8}, "planted", "1", ("a", "b"), 64, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2)
)
RIGHT_IN_CARDS: dict[str, list[Any]] = {
    "classes": [["a"], ["a", "b", "ä c"]],
    "size": [1, 224],
    "mean": [[0.5], [0, 1, 0.5]],
    "std": [[0.25], [1, 0.1, 0.01]],
    "resize": [0, 256],
    "channels": ["rgb", "bgr"],
    "outputs": ["softmax"],
    "notes": [{}, {"seed": "0"}],
}
BAD: list[Any] = [
    None,
    True,
    -1,
    1e400,
    float("nan"),
    10**30,
    "x" * 5000,
    "٣",
    {},
    {"a": [[[]]]},
    "\x1b[31m",
    "a\0",
]
WRONG_IN_CARDS: dict[str, list[Any]] = {
    "architecture": [3, None, True, []],
    "parameters": [3, "x", [1], None],
    "dataset": [3, None, "\x1b]0;x\x07"],
    "classes": [*BAD, [], ["a", "a"], [""], ["\x1b[2J"], ["a\nb"], [1], "ab", ["a", None]],
    "size": [*BAD, 0, 2.5, 32769, [64]],
    "mean": [*BAD, [], [0.5, 0.5], [123.7] * 3, [float("nan")] * 3, [True] * 3, ["0.5"] * 3, 0.5],
    "std": [*BAD, [], [0.0] * 3, [-0.1] * 3, [float("inf")] * 3, [57.0] * 3, [0.2] * 2],
    "resize": [True, -1, 2.5, 10**30, "256"],
    "interpolation": ["cubic", 3],
    "channels": ["RGB", 3, "grey"],
    "outputs": ["logits", 3],
    "notes": [3, {"a": 1}, ["a"]],
    "unheard": [1, None],
}


@st.composite
def cards(draw: st.DrawFn) -> tuple[str, bool]:
    """The text of a weights' card, with at most one wrong value, or broken as a whole."""
    values = {name: value for name, value in asdict(CARD).items() if value is not None}
    for name in draw(st.lists(st.sampled_from(sorted(RIGHT_IN_CARDS)), unique=True, max_size=3)):
        values[name] = draw(st.sampled_from(RIGHT_IN_CARDS[name]))
    how = draw(st.sampled_from(["right", "value", "value", "value", "missing", "text"]))
    if how == "value":
        name = draw(st.sampled_from(sorted(WRONG_IN_CARDS)))
        values[name] = draw(st.sampled_from(WRONG_IN_CARDS[name]))
    if how == "missing":
        del values[
            draw(
                st.sampled_from(
                    ["architecture", "parameters", "dataset", "classes", "size", "mean", "std"]
                )
            )
        ]
    text = json.dumps(values)
    if how == "text":
        broken = [
            text[:-1],
            text[:-1] + ', "size": 32}',
            "[]",
            "3",
            "null",
            DEEP,
            '{"a":' * 3000,
            HUGE,
            "",
            f"[{text}]",
        ]
        text = draw(st.sampled_from(broken))
    return text, how == "right"


# Column -> texts that its cells cannot have.
WRONG_IN_BOARDS = {
    "better": ["best", "", "LOWER", "\x1b[31m"],
    "role": ["wizard", "ceiling"],
    "status": ["great", "OK", ""],
    "n": ["-1", "2.5", "inf", "nan", "x", "1e400", HUGE, "٣x"],
    "mean": ["", "inf", "nan", "-inf", "x", "1e400", "0,5"],
    "low": ["9", "inf", "x"],
    "high": ["-9", "-inf", "x"],
    "rank": ["0", "-1", "1.5", "x", "inf", HUGE],
    "constant": ["-1", "0.5", "x"],
    "unscored": ["-3", "x"],
    "accuracy": ["1.5", "-0.1", "inf", "x"],
    "tied": ["2", "-1"],
    "share_low": ["1e9"],
    "method": ["\x1b]0;title\x07", "a\nb", "a\u202eb"],
    "model": ["\x1b[2J"],
}


@st.composite
def boards(draw: st.DrawFn, right: list[list[str]]) -> tuple[str, bool]:
    """The text of a leaderboard.csv, made of the cells of one that is right; at most one thing in it is wrong."""
    header, *rows = [list(line) for line in right]
    how = draw(
        st.sampled_from(
            ["right", "cell", "cell", "cell", "cell", "shorter", "longer", "twice", "no column"]
        )
    )
    scored = [i for i, row in enumerate(rows) if row[header.index("n")] != "0"]
    row = rows[draw(st.sampled_from(scored))]
    if how == "cell":
        column = draw(st.sampled_from(sorted(WRONG_IN_BOARDS)))
        row[header.index(column)] = draw(st.sampled_from(WRONG_IN_BOARDS[column]))
    if how == "shorter":
        del row[draw(st.integers(1, len(row) - 2)) :]  # the last is empty
    if how == "longer":
        row += ["1"] * draw(st.integers(1, 3))
    if how == "twice":
        header[header.index("low")] = "mean"
    if how == "no column":
        missing = header.index(
            draw(st.sampled_from(["dataset", "better", "method", "n", "mean", "rank"]))
        )
        for line in (header, *rows):
            del line[missing]
    quoted = [
        ",".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in (header, *rows)
    ]
    return "\n".join(quoted) + "\n", how == "right"


# Plugin and parameter -> values that it cannot take.
_COUNTS = ["0", "-3", "nan", "1e400", "2.5", "x", "", "true", HUGE, "0x10", "\x1b[31m", "a\0"]
_NUMBERS = ["nan", "inf", "-inf", "1e400", "x", "", "true", "\x1b[31m"]
WRONG_IN_SPECS = [
    *(("method", f"occlusion:window={value}") for value in _COUNTS),
    *(("method", f"rise:masks={value}") for value in _COUNTS),
    *(("metric", f"deletion:steps={value}") for value in _COUNTS),
    *(("metric", f"deletion:baseline={value}") for value in _NUMBERS),
    *(("model", f"resnet18:width={value}") for value in _COUNTS),
    *(("method", f"smoothgrad:noise={value}") for value in _NUMBERS),
    *(("method", text) for text in (LONG, f"saliency:{LONG}=1", ":", "=", "a=b", "saliency:x", "rise:masks=1,masks=2")),
]  # fmt: skip


# Command -> what is right in it; flag -> values that it cannot take. NUL cannot stand in an argument.
_FLAG_COUNTS = ["-1", "0", "2.5", "x", "", "nan", "1e400", HUGE, "²", "true"]
_PREPARED = {
    "--mean": ["x", "", "nan", "inf", "123", "0.5,,0.5", HUGE, "\x1b[31m"],
    "--std": ["x", "nan", "-1", "57", "0.5,x"],
    "--size": ["0", "-1", "x", "", "1,2,3", "99999", HUGE, "2.5", "²"],
    "--resize": ["-1", "x", "99999", HUGE, "2.5"],
    "--preparation": ["imagnet", "no.toml", "", LONG, "\x1b[31m", LONG + ".toml"],
    "--outputs": ["logits", "", LONG],
}
_SHARED = {
    "--device": ["gpu", "cuda:x", "cuda:²", "cpu:1", "", LONG, "cuda:" + HUGE],
    "--plugin": ["no.py", "", LONG, LONG + ".py"],
    "--dataset": [
        "no",
        "imagefolder:root=/no/such",
        "imagefolder:" + LONG,
        "",
        "tiny:x=1",
        "\x1b[31m",
        "tiny,tiny",
    ],
    "--weights": ["no.pt", "no.safetensors", "x", "", LONG, LONG + ".pt"],
}
_RUN = {
    **_SHARED,
    **_PREPARED,
    "--suite": ["no", "no.toml", "../x", LONG, LONG + ".toml", "\x1b[31m"],
    "--model": [
        "no",
        "no.py:build",
        ":",
        "=",
        "quadrants:x=1",
        LONG,
        "timm:",
        "onnx:" + LONG,
        LONG + ".py:build",
    ],
    "--method": ["no", "occlusion:window=-1", "occlusion:window=" + HUGE, LONG, "\x1b[31m"],
    "--metric": ["no", "deletion:steps=0", LONG],
    "--images": _FLAG_COUNTS,
    "--steps": _FLAG_COUNTS,
    "--ceiling": ["1", "17", "-1", "²", "٣", "x", HUGE, "", "2.5"],
    "--seed": ["-1", "x", "1.5", HUGE, "9223372036854775808", "nan"],
    "--batch-size": ["0", "-1", "²", "٣", "x", HUGE, "1e3", "9" * 18, ""],
    "--precision": ["fp8", "", LONG],
    "--map-precision": ["fp8", "", LONG],
    "--compile": ["yes", ""],
    "--target": ["x", "", LONG],
}
WRONG_IN_COMMANDS: dict[str, dict[str, list[str]]] = {
    "run": _RUN,
    "gallery": {
        **_SHARED,
        **_PREPARED,
        "--only": ["x", ""],
        "--count": _FLAG_COUNTS,
        "--images": _FLAG_COUNTS,
        "--alpha": ["2", "-1", "nan", "x"],
        "--cmap": ["x", "", LONG],
        "--seed": ["-1", "x", HUGE],
    },
    "sanity": {
        **_SHARED,
        **_PREPARED,
        "--images": [*_FLAG_COUNTS, "1"],
        "--samples": _FLAG_COUNTS,
        "--test": ["x", "", LONG],
        "--seed": ["-1", "x", HUGE],
    },
    "advise": {
        **_SHARED,
        **_PREPARED,
        "--others": [*_FLAG_COUNTS, "1"],
        "--budget": ["", "0", "-1m", "nan", "1e3", "ten", "5d", "²m", LONG],
        "--images": [*_FLAG_COUNTS, "1"],
        "--batch-size": _FLAG_COUNTS,
        "--target": ["x", "", LONG],
        "--seed": ["-1", "x", HUGE],
    },
    "doctor": {
        **_PREPARED,
        **{flag: _SHARED[flag] for flag in ("--device", "--weights")},
        "--seed": ["-1", "x", HUGE],
    },
    "train": {
        "--dataset": _SHARED["--dataset"],
        "--device": _SHARED["--device"],
        "--recipe": ["no", "no.toml", LONG, LONG + ".toml"],
        "--epochs": _FLAG_COUNTS,
        "--batch-size": _FLAG_COUNTS,
        "--lr": ["-1", "0", "nan", "inf", "1e400", "x"],
        "--size": [*_FLAG_COUNTS, "99999"],
        "--seed": ["-1", "x", HUGE],
        "--precision": ["fp8", ""],
        "--split": ["2", "-1", "nan", "x", "0", "1"],
    },
    "conformance": {
        "--images": ["0", "11", "x", HUGE],
        "--seed": ["-1", "x", HUGE],
        "--method": ["no", LONG],
        "--model": ["no", LONG],
    },
}
WRONG_ALONE: list[tuple[str, ...]] = [
    (), ("nothing",), ("run", "--nothing"),
    ("report",), ("report", "/no/such"), ("report", LONG), ("report", LONG, "--html"), ("report", "/no.csv", "--html"),
    ("show",), ("show", "nothing"), ("show", LONG), ("list", "nothing"), ("list", LONG),
    ("new", "method", "../x"), ("new", "method", LONG), ("new", "metric", "x"), ("new", "method", "\x1b[31m"),
    ("check", LONG), ("check", "/no/such.py"), ("check", ""), ("publish", "/no/such"), ("publish", LONG),
    ("verify", LONG), ("verify", "/no/such"), ("leaderboard", "/no/such.csv"), ("leaderboard", LONG),
    ("leaderboard", "--results", LONG), ("leaderboard", "--results", LONG, "--check"), ("leaderboard", "--format", "x"),
    ("explain", "/no/such.png"), ("explain", LONG), ("explain",),
    ("doctor",), ("doctor", "no"), ("doctor", LONG), ("train", "--model", LONG),
]  # fmt: skip
