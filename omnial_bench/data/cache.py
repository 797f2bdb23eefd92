"""Tensors made once from files and found again: one safetensors file a result, in the user's cache folder.

The folder is `$OMNIAL_BENCH_CACHE` or the system's place for caches; it may be deleted at any time. Without torch until
a tensor is made or found.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import mmap
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
import platformdirs
from safetensors import SafetensorError, safe_open

from omnial_bench.errors import UserError
from omnial_bench.io import whole as files
from omnial_bench.io.leftovers import sweep
from omnial_bench.io.lock import shared

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

A_DAY = 86_400.0
"""Seconds after which nobody writes any more at what is not whole."""

NO_CHECKSUM = "--------"
DTYPES = {"uint8": "U8", "bool": "BOOL", "float32": "F32"}
"""The names of safetensors by those of NumPy."""

AHEAD = 4
"""Items a thread that may be done before their turn."""

Array = tuple[type[np.generic], tuple[int, ...]]
"""Of what kind an array is, and how large."""
Arrays = dict[str, npt.NDArray[Any]]

Item = TypeVar("Item")
Value = TypeVar("Value")


def cache_folder() -> Path:
    """Where decoded images are kept; the folder need not exist."""
    chosen = os.environ.get("OMNIAL_BENCH_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("omnial-bench", appauthor=False))


def file_stamps(root: Path, files: Iterable[Path]) -> list[Any]:
    """What tells that files are the ones seen before: place, size in bytes, and times of the last change of
    content and of record: the former can be set back."""
    stamps: list[Any] = [str(root.resolve())]
    for path in files:
        status = path.stat()
        stamps.append([path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns, status.st_ctime_ns])
    return stamps


def remember(name: str, decided_by: Sequence[Any], make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What `make` gives, from the cache where `decided_by` (JSON values: all that the result depends on) is known.

    A damaged file is set aside and made again; a folder that cannot be written costs a warning and nothing else.
    """
    path = cache_folder() / f"{name}-{_digest(decided_by)}.safetensors"
    if (cached := _read(path)) is not None:
        return cached
    from safetensors.torch import save_file

    tensors = {key: tensor.contiguous() for key, tensor in make().items()}
    checksum = _checksum({key: tensor.numpy() for key, tensor in tensors.items()})
    try:
        with _writing(), files.whole(path, apart=True) as aside:
            save_file(tensors, aside, metadata={"crc32": checksum})
    except (UserError, OSError, SafetensorError) as error:
        log.warning("%s is not kept in the cache: %s", path.name, error)
    return tensors


def remember_arrays(
    name: str, decided_by: Sequence[Any], fields: Mapping[str, Array], fill: Callable[[Arrays], None]
) -> dict[str, Tensor]:
    """As `remember`, for arrays of zeros that are laid out on the disk, so that `fill`, which writes into them, may
    write more than memory holds. What it raises is raised."""
    path = cache_folder() / f"{name}-{_digest(decided_by)}.safetensors"
    if (cached := _read(path)) is not None:
        return cached
    raised: list[BaseException] = []
    try:
        with _writing(), files.whole(path) as aside, _laid_out(aside, fields) as arrays:
            try:
                fill(arrays)
            except BaseException as error:
                raised.append(error)
                raise
        if (cached := _read(path)) is not None:
            return cached
    except (UserError, OSError) as error:
        if raised:
            raise
        log.warning("%s is not kept in the cache: %s", path.name, error)
    import torch

    try:
        arrays = {key: np.zeros(shape, dtype) for key, (dtype, shape) in fields.items()}
    except MemoryError as error:
        shape = " x ".join(str(length) for length in max((shape for _, shape in fields.values()), key=math.prod))
        raise UserError(f"expected images that memory can hold, got {shape} values; try a smaller size") from error
    fill(arrays)
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


@contextmanager
def _laid_out(path: Path, fields: Mapping[str, Array]) -> Iterator[Arrays]:
    """Arrays of zeros mapped onto a safetensors file, whose checksum is written at the end."""
    entries: dict[str, Any] = {"__metadata__": {"crc32": NO_CHECKSUM}}
    end = 0
    # The widest first, so that each begins at a multiple of its width.
    for key, (dtype, shape) in sorted(fields.items(), key=lambda item: -np.dtype(item[1][0]).itemsize):
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        entries[key] = {"dtype": DTYPES[np.dtype(dtype).name], "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    begin = 8 + len(header)
    with path.open("r+b") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(begin + end)
        if hasattr(os, "posix_fallocate"):
            # A disk that is full is an error now, and not the end of the process when a page is written.
            os.posix_fallocate(file.fileno(), 0, begin + end)
        with mmap.mmap(file.fileno(), begin + end) as mapped:
            arrays: Arrays = {
                key: np.frombuffer(mapped, dtype, math.prod(shape), begin + entries[key]["data_offsets"][0])
                .reshape(shape)
                for key, (dtype, shape) in fields.items()
            }  # fmt: skip
            try:
                yield arrays
                checksum = _checksum(arrays)
            finally:
                # Nothing may look into the file any more when it is closed.
                arrays.clear()
        file.seek(8)
        file.write(header.replace(NO_CHECKSUM.encode(), checksum.encode(), 1))


def remember_text(name: str, decided_by: Sequence[Any], make: Callable[[], str]) -> str:
    """As `remember`, for a short line of text."""
    path = cache_folder() / f"{name}-{_digest(decided_by)}.json"
    if path.is_file():
        try:
            cached = json.loads(path.read_text(encoding="utf-8"))
            if cached["sha256"] == _digest([cached["text"]]):
                return str(cached["text"])
            _set_aside(path, "its hash differs")
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            _set_aside(path, error)
    text = make()
    try:
        with _writing():
            files.write_json(path, {"text": text, "sha256": _digest([text])})
    except (UserError, OSError) as error:
        log.warning("the data fingerprint is not kept: %s", error)
    return text


def sweep_cache() -> None:
    """Remove what killed processes left in the cache: all of it where nobody writes there now, else what is old."""
    sweep(cache_folder(), deep=False, spared=A_DAY)


@contextmanager
def _writing() -> Iterator[None]:
    """Write in the cache, beside others; what killed ones left is swept first."""
    folder = files.make_folder(cache_folder())
    sweep_cache()
    with shared(folder):
        yield


def streamed(work: Callable[[Item], Value], items: Sequence[Item]) -> Iterator[Value]:
    """`work` on every item, in order, in threads: decoding and hashing leave the interpreter lock. Few results wait in
    memory; the first error wins."""
    workers = min(16, os.cpu_count() or 1)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        ahead: deque[Future[Value]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > AHEAD * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _digest(decided_by: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(decided_by).encode()).hexdigest()[:24]


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> str:
    value = 0
    for key in sorted(arrays):
        value = zlib.crc32(arrays[key].reshape(-1).view(np.uint8).data, value)
    return f"{value:08x}"


def _read(path: Path) -> dict[str, Tensor] | None:
    """The tensors of a cached file, mapped into memory; None where there is no such file or it is damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get("crc32")
    except (OSError, SafetensorError) as error:
        _set_aside(path, error)
        return None
    if _checksum({key: tensor.numpy() for key, tensor in tensors.items()}) != expected:
        _set_aside(path, "checksum")
        return None
    return tensors


def _set_aside(path: Path, why: object) -> None:
    log.warning("%s is damaged (%s) and is made again", path, why)
    with suppress(OSError):
        files.set_aside(path)
