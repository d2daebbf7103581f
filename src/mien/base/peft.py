"""PEFT's folder of an adapter, read with distrust and without torch.

An adapter may come from anywhere. So what it says of itself is held against what it is before any
memory is given to it: regular files of a bearable size, safetensors and no pickle, plain LoRA of one
rank, and a header whose names and shapes account for every byte.
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from mien.errors import AdapterError

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
ALPHA = "lora_alpha"  # in the weights' metadata too, so that their hash is of all that they do
PREFIX = "base_model.model."
MAX_RANK = 512
MAX_BYTES = 2**32
_MAX_TEXT = 2**24  # of the config, and of the header; that of a base of 100 layers has 300 kB
_SIZES = {"F32": 4, "F16": 2, "BF16": 2}
_NAME = re.compile(re.escape(PREFIX) + r"(\w+(?:\.\w+)*)\.lora_([AB])\.weight", re.ASCII)
_PICKLES = ("adapter_model.bin", "adapter_model.pt", "adapter_model.pth", "adapter_model.pkl")
_PICKLED = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Each of these, where set, means that the two matrices alone do not say what is to be computed.
_NOT_PLAIN = ("alpha_pattern", "lora_bias", "modules_to_save", "rank_pattern", "use_dora", "use_rslora")


@dataclass(frozen=True)
class Matrix:
    """One tensor of the file: its type, (rows, columns), and where its bytes begin."""

    dtype: str
    shape: tuple[int, int]
    start: int

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return _SIZES[self.dtype] * self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Described:
    """What a PEFT folder says it is.

    Attributes:
        r: The rank.
        alpha: alpha / r scales the update.
        base: The name of its base, as its maker put it; may be empty.
        matrices: By the names that they have in the file.
        metadata: The file's own notes.
    """

    r: int
    alpha: float
    base: str
    matrices: dict[str, Matrix]
    metadata: dict[str, str]


def inspect(folder: Path) -> Described:
    """What lies in a PEFT folder, from its config and the header of its weights alone.

    Raises:
        AdapterError: A file is missing, no regular file, too large, cut off or a pickle; the adapter is
            not plain LoRA, its rank too high, or a name or shape is none that LoRA has.
    """
    with open_regular(folder / CONFIG, _MAX_TEXT) as file:
        config = _object(file.read(), folder, CONFIG)
    r, alpha = _shape(config, folder)
    with open_regular(folder / WEIGHTS, MAX_BYTES) as file:
        header, start = _header(file, folder)
    metadata = header.pop("__metadata__", None) or {}
    matrices = {name: _matrix(name, entry, r, start, folder) for name, entry in header.items()}
    _accounted(matrices, start, (folder / WEIGHTS).stat().st_size, folder)
    return Described(r, alpha, str(config.get("base_model_name_or_path") or ""), matrices, metadata)


def layer_of(name: str) -> str:
    """The layer's path in the model, from a tensor's name in the file."""
    return name.removeprefix(PREFIX).rpartition(".lora_")[0]


def first_not_finite(folder: Path, described: Described) -> str | None:
    """The first layer that holds NaN or infinity, if one does."""
    for name, matrix in described.matrices.items():
        raw = np.memmap(folder / WEIGHTS, np.uint8, "r", matrix.start, (matrix.bytes,))
        if not _all_finite(raw, matrix.dtype):
            return layer_of(name)
    return None


def open_regular(path: Path, most: int) -> IO[bytes]:
    """A file opened for reading, if it is a regular one of at most so many bytes, and no link to one.

    Raises:
        AdapterError: It is not.
    """
    if path.parent.is_symlink() or path.is_symlink():
        raise AdapterError(
            f"{path.parent}: cannot be read ({path.name} is reached through a symbolic link).",
            fix="Give a folder that holds the files themselves; `cp -rL` makes one.",
        )
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe would wait for ever
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise unreadable(path.parent, f"{path.name}: {os.strerror(error.errno or 0)}") from error
    about = os.fstat(number)
    if not stat.S_ISREG(about.st_mode) or about.st_size > most:
        os.close(number)
        odd = "is no regular file" if not stat.S_ISREG(about.st_mode) else f"has more than {most} bytes"
        raise unreadable(path.parent, f"{path.name} {odd}")
    return os.fdopen(number, "rb")


def unreadable(folder: Path, why: str) -> AdapterError:
    """The error of a folder whose files are no adapter."""
    return AdapterError(f"{folder}: cannot be read ({why}).", fix="Copy or train it again.")


def _missing(path: Path) -> AdapterError:
    if path.name == WEIGHTS and (found := [each for each in _PICKLES if (path.parent / each).exists()]):
        return AdapterError(
            f"{path.parent}: cannot be read ({found[0]} is a pickle, which may run code).",
            fix="Save it as safetensors: `model.save_pretrained(FOLDER, safe_serialization=True)`.",
        )
    return AdapterError(
        f"{path.parent}: no {path.name} there.",
        fix="Give the folder of a finished run, or any PEFT LoRA folder with safetensors.",
    )


def _object(text: bytes, folder: Path, what: str) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = Counter(name for name, _ in pairs)
        if twice := next((name for name, count in names.items() if count > 1), None):
            raise unreadable(folder, f"{what} names {twice[:80]!r} twice")
        return dict(pairs)

    try:
        value = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise unreadable(folder, f"{what} is no JSON") from error
    if not isinstance(value, dict):
        raise unreadable(folder, f"{what} is no JSON object")
    return value


def _shape(config: dict[str, Any], folder: Path) -> tuple[int, float]:
    """Rank and alpha."""
    plain = config.get("peft_type") == "LORA" and config.get("bias", "none") == "none"
    if not plain or any(config.get(key) for key in _NOT_PLAIN):
        raise AdapterError(
            f"{folder}: not a plain LoRA adapter.",
            fix="Use LoRA of one rank and alpha, without rsLoRA, DoRA, bias or extra modules.",
        )
    r, alpha = config.get("r"), config.get(ALPHA)
    if type(r) is not int or r < 1 or not _finite_number(alpha):
        raise unreadable(folder, f"{CONFIG} has rank {r!r} and alpha {alpha!r}")
    if r > MAX_RANK:
        raise AdapterError(
            f"{folder}: its rank {r} is above {MAX_RANK}, the most that is taken.",
            fix="Train it with a lower rank; 16 is plenty for a voice.",
        )
    return r, float(config[ALPHA])


def _finite_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < sys.float_info.max


def _header(file: IO[bytes], folder: Path) -> tuple[dict[str, Any], int]:
    """The header, and where the tensors begin."""
    size = os.fstat(file.fileno()).st_size
    first = file.read(8)
    if first.startswith(_PICKLED):
        raise AdapterError(
            f"{folder}: cannot be read ({WEIGHTS} is a pickle, which may run code).",
            fix="Save it as safetensors: `model.save_pretrained(FOLDER, safe_serialization=True)`.",
        )
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > size - 8:
        raise unreadable(folder, f"{WEIGHTS} is cut off, or no safetensors")
    if length > _MAX_TEXT:
        raise unreadable(folder, f"the header of {WEIGHTS} has more than {_MAX_TEXT} bytes")
    return _object(file.read(length), folder, f"the header of {WEIGHTS}"), 8 + length


def _matrix(name: str, entry: Any, r: int, start: int, folder: Path) -> Matrix:
    found = _NAME.fullmatch(name)
    if found is None:
        raise unreadable(folder, f"{name[:80]!r} is no name of a LoRA matrix")
    try:
        dtype, (rows, columns), (begin, end) = (entry[key] for key in ("dtype", "shape", "data_offsets"))
    except (TypeError, KeyError, ValueError) as error:
        raise unreadable(folder, f"{name} is described as no matrix") from error
    numbers = all(type(each) is int and each >= 0 for each in (rows, columns, begin, end))
    if dtype not in _SIZES or not numbers:
        raise unreadable(folder, f"{name} has type {dtype!r}; F32, F16 and BF16 are read")
    if (rows if found[2] == "A" else columns) != r:
        layer = layer_of(name)
        raise unreadable(folder, f"{layer} has shape {(rows, columns)}, which is not of rank {r}")
    made = Matrix(dtype, (rows, columns), start + begin)
    if end - begin != made.bytes:
        raise unreadable(folder, f"{name} has {end - begin} bytes, its shape needs {made.bytes}")
    return made


def _accounted(matrices: dict[str, Matrix], start: int, size: int, folder: Path) -> None:
    """Every byte belongs to one matrix."""
    if not matrices:
        raise unreadable(folder, f"{WEIGHTS} holds nothing")
    at = start
    for matrix in sorted(matrices.values(), key=lambda each: each.start):
        if matrix.start != at:
            raise unreadable(folder, f"the matrices of {WEIGHTS} overlap or leave gaps")
        at += matrix.bytes
    if at != size:
        raise unreadable(folder, f"{WEIGHTS} has {size} bytes, and its header tells of {at}")


def _all_finite(raw: np.ndarray[Any, Any], dtype: str) -> bool:
    if dtype == "BF16":  # numpy has no such type: all exponent bits set is infinity or NaN
        return not bool(((raw.view("<u2") & 0x7F80) == 0x7F80).any())
    return bool(np.isfinite(raw.view("<f4" if dtype == "F32" else "<f2")).all())
