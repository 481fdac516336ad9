"""Lists of samples that are used or left out: which are left, what the data are then called, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench.core.errors import DataError, UnknownNameError
from interpbench.core.types import DatasetCard, Sample
from interpbench.loading.part import Part, listed_part
from tests.command_line import BASE, call, refused, undrawn
from tests.training.data import photographs

RUN = [
    "run",
    *BASE,
    "--weights",
    "random",
    "--metric",
    "pointing-game",
    "--method",
    "center",
    "--ceiling",
    "none",
]


class Named:
    """Samples that are no more than their ids; the label is the id's last digit."""

    def __init__(self, ids: list[str]) -> None:
        self.card = DatasetCard("named", tuple("0123456789"), "named-1")
        self.ids = ids
        self.labels = [int(name[-1]) for name in ids]

    def __getitem__(self, index: int) -> Sample:
        return Sample(self.ids[index], None, self.labels[index])


NAMES = [f"class {i % 3}/photo {i}" for i in range(12)]


def write(folder: Path, *lines: str) -> Path:
    (folder / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    return folder / "list.txt"


@settings(deadline=None)
@given(chosen=st.sets(st.sampled_from(NAMES), min_size=1, max_size=11), order=st.randoms())
def test_what_is_used_and_what_is_left_out_make_up_the_whole(
    tmp_path_factory: pytest.TempPathFactory, chosen: set[str], order: object
) -> None:
    data, folder = Named(NAMES), tmp_path_factory.getbasetemp()
    lines = sorted(chosen)
    order.shuffle(lines)  # type: ignore[attr-defined]
    used = listed_part(data, write(folder, *lines))
    left = listed_part(data, write(folder, *(f"!{name}" for name in lines)))
    assert used.ids == [name for name in NAMES if name in chosen]
    assert left.ids == [name for name in NAMES if name not in chosen]
    for part in (used, left):
        for i, name in enumerate(part.ids):
            assert (part[i].id, part[i].label) == (name, part.labels[i])
    # Called by what is used, however the file says it.
    others = [f"!{name}" for name in NAMES if name not in chosen]
    assert listed_part(data, write(folder, *others, "")).card.revision == used.card.revision
    assert len({data.card.revision, used.card.revision, left.card.revision}) == 3


def test_a_part_without_words_has_the_revision_of_the_data() -> None:
    assert Part(Named(NAMES), [1, 5]).card.revision == "named-1"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "names no samples"),
        (b"\n \n", "names no samples"),
        (b"class 0/photo 0\n!class 1/photo 1", "both takes and leaves out samples"),
        (b"\xff\xfe\x00", "cannot be read"),
        ("\n".join(f"!{name}" for name in NAMES).encode(), "leaves no sample of 'named'"),
    ],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(DataError, match=says):
        listed_part(Named(NAMES), tmp_path / "list.txt")


def test_unknown_samples_are_named_with_near_ones(tmp_path: Path) -> None:
    file = write(tmp_path, "class 0/photo 0", "class 0/photo 33", "class1/photo 1", "x", "y", "z")
    with pytest.raises(UnknownNameError) as refusal:
        listed_part(Named(NAMES), file)
    said = str(refusal.value)
    assert "Did you mean 'class 0/photo 3'" in said
    assert "Did you mean 'class 1/photo 1'" in said
    assert said.endswith("And 2 more.")
    with pytest.raises(DataError, match=r"absent\.txt' cannot be read"):
        listed_part(Named(NAMES), tmp_path / "absent.txt")


@undrawn()
def test_a_run_uses_the_listed_samples_and_holds_to_them(tmp_path: Path) -> None:
    listed = ["tiny-007", "tiny-001", "tiny-032"]
    arguments = [*RUN, "--output", tmp_path / "run", "--samples"]
    code, out, error = call(*arguments, write(tmp_path, *listed))
    assert code == 0, out + error
    assert "holds 3 images: all are taken instead of the usual 30" in out
    info = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert info["identity"]["data"]["samples"] == sorted(listed)
    assert info["identity"]["data"]["revision"].startswith("tiny-1, 3 samples ")
    assert info["suite"]["changed"]
    assert "data differ" in refused(*arguments, write(tmp_path, "!tiny-001"), "--resume")
    said = refused(*RUN, "--samples", write(tmp_path, "tiny-7"), "--output", tmp_path / "no")
    assert "Unknown sample of 'tiny' in" in said


def test_a_training_leaves_out_what_is_listed_and_keeps_its_test_images(tmp_path: Path) -> None:
    for part in ("train", "test"):
        photographs(tmp_path / part, each=6)
    train = ["train", "--model", "resnet18:width=2", "--dataset", f"imagefolder:root={tmp_path}", "--device", "cpu",
             "--epochs", "1", "--batch-size", "4", "--output", tmp_path / "w.safetensors"]  # fmt: skip
    code, out, error = call(*train, "--samples", write(tmp_path, "!cat/0.png", "!dog/5.png"))
    assert code == 0, out + error
    assert "on 12 images" in out  # tested
    assert (
        "on 9 images it was trained on; trained on 9 images, best epoch chosen on 1 images" in out
    )
