"""Weights' files of any bytes and header: they are refused in a sentence, and nothing is taken into memory for them."""

import json
import struct
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interpbench.core.errors import WeightsError
from interpbench.loading.fitting import load_state
from interpbench.loading.weights import SAFETENSORS, read_weights

TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def safetensors(header: Any, data: bytes = bytes(8)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


HEADERS: dict[str, bytes] = {
    "a length without end": struct.pack("<Q", 2**63),
    "a huge shape": safetensors({"a": TENSOR | {"shape": [2**40]}}),
    "a shape that overflows": safetensors({"a": TENSOR | {"shape": [2**62, 2**62]}}),
    "a negative shape": safetensors({"a": TENSOR | {"shape": [-2]}}),
    "offsets outside": safetensors({"a": TENSOR | {"data_offsets": [0, 2**40]}}),
    "another type": safetensors({"a": TENSOR | {"dtype": "object"}}),
    "no mapping": safetensors([1, 2]),
    "deep": safetensors(b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "truth": safetensors({"a": True}),
    "a card that is none": safetensors({"a": TENSOR, "__metadata__": {"interpbench": "\0"}}),
    "a card that is no text": safetensors({"a": TENSOR, "__metadata__": {"interpbench": 3}}),
    "a deep card": safetensors({"a": TENSOR, "__metadata__": {"interpbench": "[" * 10**5}}),
    "a long card": safetensors({"a": TENSOR, "__metadata__": {"interpbench": " " * (2**22 + 1)}}),
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS)
def test_headers_that_lie_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(WeightsError):
        read_weights(tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["a\0b", "\x1b[2J", "x" * 5000, "", "../a", "__proto__"])
def test_any_name_of_a_tensor_is_but_one_that_the_network_has_not(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "w.safetensors").write_bytes(safetensors({name: TENSOR}))
    state, card = read_weights(tmp_path / "w.safetensors")
    assert (list(state), card) == ([name], None)
    with pytest.raises(WeightsError) as refused:
        load_state(torch.nn.Linear(2, 2), state, "w.safetensors")
    assert not set(str(refused.value)) & {"\0", "\x1b"}


def whole(suffix: str) -> bytes:
    """A file that is right."""
    if suffix == SAFETENSORS:
        return safetensors({"a": TENSOR})
    content = BytesIO()
    torch.save({"a": torch.ones(2)}, content)
    return content.getvalue()


@pytest.mark.parametrize("suffix", [SAFETENSORS, ".pt"])
def test_bytes_that_are_changed_cut_or_added_give_tensors_or_a_sentence(
    suffix: str, tmp_path: Path
) -> None:
    right, path = whole(suffix), tmp_path / f"w{suffix}"

    @settings(max_examples=40, deadline=None, database=None, derandomize=True)
    @given(st.integers(0, len(right)), st.integers(0, 20), st.binary(max_size=20))
    def test(start: int, length: int, put: bytes) -> None:
        path.write_bytes(right[:start] + put + right[start + length :])
        with suppress(WeightsError):
            state, _ = read_weights(path)
            assert all(tensor.numel() <= 2 for tensor in state.values())

    test()


def test_an_archive_of_many_packed_files_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as file:
        for number in range(8):
            file.writestr(f"w/data/{number}", bytes(10_000_000))
    with pytest.raises(WeightsError, match="holds 80000000 bytes; nothing of them was loaded"):
        read_weights(tmp_path / "w.pth")
