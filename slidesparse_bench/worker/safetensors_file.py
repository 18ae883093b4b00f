"""The layout of a safetensors file, read without loading it.

Eight bytes with the length of the header (little-endian), the header (JSON), the tensors one after
the other without gaps (safetensors, README, "Format"). A file of the same tensors with other values
has the same header, byte for byte.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slidesparse_bench.errors import UsageError

MAX_HEADER_BYTES = 100_000_000
"""What the safetensors library accepts."""
_ITEM_BYTES = {"I8": 1, "F8_E4M3": 1, "BF16": 2, "F16": 2, "F32": 4}
"""Of the types that are read here; others are copied whatever they are."""
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error)
"""What reading a header raises that is not one, or not JSON, or JSON without an end of brackets."""


@dataclass(frozen=True)
class Tensor:
    """One tensor: `dtype` as safetensors names it, `begin` and `end` in bytes of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def bytes(self) -> int:
        return self.end - self.begin


@dataclass(frozen=True)
class SafetensorsFile:
    """A file and its tensors, in the order they lie in it; the first `header_bytes` precede them."""

    path: Path
    header_bytes: int
    tensors: tuple[Tensor, ...]


def read_layout(path: Path) -> SafetensorsFile:
    """Read and check the header of a file.

    Raises:
        UsageError: damaged, cut short, or no safetensors at all.
    """
    try:
        with path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            # A file that is none may claim any length; what is cut off is no JSON.
            header = json.loads(stream.read(min(length, MAX_HEADER_BYTES)))
        tensors = _tensors(header, 8 + length)
        _check_extent(tensors, 8 + length, path.stat().st_size)
    except _DAMAGE as error:
        raise UsageError(f"{path} is not a whole safetensors file: {error}") from error
    return SafetensorsFile(path, 8 + length, tensors)


def read_exactly(source: IO[bytes], size: int) -> bytearray:
    """The next `size` bytes, writable.

    Raises:
        UsageError: the file ends before.
    """
    data = bytearray(size)
    view = memoryview(data)
    done = 0
    while done < size:
        count = source.readinto(view[done:])  # type: ignore[attr-defined]  # of binary files
        if not count:
            raise UsageError(f"{source.name} was cut short while it was read")
        done += count
    return data


def _tensors(header: dict[str, Any], start: int) -> tuple[Tensor, ...]:
    found = [
        _tensor(name, facts, start) for name, facts in header.items() if name != "__metadata__"
    ]
    return tuple(sorted(found, key=lambda tensor: (tensor.begin, tensor.end)))


def _tensor(name: str, facts: dict[str, Any], start: int) -> Tensor:
    dtype, shape, (begin, end) = facts["dtype"], tuple(facts["shape"]), facts["data_offsets"]
    # Two negative sizes make as many elements as two positive ones; `True` is an int, too.
    if not all(type(number) is int and number >= 0 for number in (*shape, begin, end)):
        raise ValueError(
            f"{name} has the shape {list(shape)} and the data_offsets [{begin}, {end}]; both are "
            "integers from 0"
        )
    if not isinstance(dtype, str):
        raise TypeError(f"{name} has the dtype {dtype!r}, which is no name")
    f"{name}{dtype}".encode()  # JSON may hold half a character, which no log and no record takes
    tensor = Tensor(name, dtype, shape, start + begin, start + end)
    expected = math.prod(shape) * _ITEM_BYTES.get(dtype, 0)
    if dtype in _ITEM_BYTES and tensor.bytes != expected:
        raise ValueError(f"{name} has {tensor.bytes} bytes instead of {expected}")
    return tensor


def _check_extent(tensors: tuple[Tensor, ...], start: int, size: int) -> None:
    position = start
    for tensor in tensors:
        if tensor.begin != position or tensor.end < position:
            raise ValueError(f"{tensor.name} begins at {tensor.begin} instead of {position}")
        position = tensor.end
    if position != size:
        raise ValueError(f"its tensors end at byte {position}, the file at {size}")
