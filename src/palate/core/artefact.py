"""Files that survive a crash and can be trusted when read again.

Writes go to a temporary name beside the target, are flushed to disk and renamed, so that a killed process leaves the
old state or the new one. A folder's `manifest.json` holds kind, schema version and the sha256 of each of its files.
Tensors are safetensors, everything else JSON, YAML or Parquet; nothing that runs code when it is read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from palate.core.errors import ArtefactError
from palate.core.lock import changing

R = TypeVar("R")

METADATA = "palate"
MANIFEST = "manifest.json"
MAX_JSON_BYTES = 256 * 1024 * 1024


@contextmanager
def atomic_path(target: Path) -> Generator[Path, None, None]:
    """A temporary path beside `target` that takes its place when the block ends without an error."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as stream:
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: Path, *, replace: bool = False) -> Generator[Path, None, None]:
    """A temporary folder beside `target` that takes its place when the block ends without an error.

    Where `target` is a link, it stays one: the folder that it leads to is replaced. Nobody else writes there meanwhile
    (`core/lock.py`).

    Raises:
        ArtefactError: when `target` exists and may not be replaced, or another process is at it.
    """
    if target.is_symlink():
        target = _led_to(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with changing(target, "writing it"):
        if target.exists() and not replace:
            raise ArtefactError(
                f"{target} exists already",
                do="choose another folder, or remove this one (--replace does, where there is that option)",
            )
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent))
        try:
            yield temporary
            os.chmod(temporary, 0o777 & ~_umask())
            _swap_in(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _swap_in(temporary: Path, target: Path) -> None:
    if target.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent))
        os.rename(target, old / "was")
        try:
            os.rename(temporary, target)
        finally:
            if not target.exists():
                os.rename(old / "was", target)
            shutil.rmtree(old, ignore_errors=True)
    else:
        os.rename(temporary, target)
    _sync_folder(target.parent)
    for old in left_beside(target, "old"):
        shutil.rmtree(old, ignore_errors=True)


def _led_to(link: Path) -> Path:
    try:
        return link.resolve()
    except (OSError, RuntimeError):
        raise ArtefactError(
            "this link leads nowhere", where=str(link), do="remove it, or choose another place"
        ) from None


def left_beside(target: Path, *kinds: Literal["old", "partial"]) -> list[Path]:
    """What processes that were killed while writing `target` left beside it.

    Args:
        kinds: "old": folders whose `was` is the folder that was taken away; "partial": what was to take its place.
    """
    name = re.compile(rf"\.{re.escape(target.name)}\.[a-z0-9_]+\.({'|'.join(kinds)})")
    return sorted(path for path in target.parent.glob(".*") if name.fullmatch(path.name))


def leftover(path: Path) -> bool:
    """Whether this is a file that a killed process was about to put in place."""
    return path.name.startswith(".") and path.name.endswith(".partial") and path.is_file()


def write_text(target: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Write JSON atomically; NaN and infinities are refused."""
    write_text(target, _json_text(value))


def _json_text(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_text(path: Path) -> str:
    """Read UTF-8 text.

    Raises:
        ArtefactError: when it is missing, too large or not UTF-8.
    """
    return _guarded(path, lambda: _limited(path).read_text(encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ArtefactError: when it is missing, too large or not JSON.
    """
    return _guarded(path, lambda: json.loads(_limited(path).read_text(encoding="utf-8"), parse_constant=_no_number))


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def write_tensors(target: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write named tensors as one safetensors file, atomically.

    Raises:
        OSError: when it cannot be written, as on a full disk.
    """
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        # The format refuses tensors that share memory, as tied parameters do.
        place = plain.untyped_storage().data_ptr()
        stored[name] = plain.clone() if place in seen else plain
        seen.add(place)
    # The format keeps its entries in no particular order: as one entry they give the same bytes every time.
    entries = {METADATA: json.dumps(dict(metadata), sort_keys=True)} if metadata else {}
    with atomic_path(target) as temporary:
        try:
            # Of no tensors and empty metadata the library makes a header that it cannot read.
            save_file(stored, str(temporary), entries if stored or entries else None)
        except SafetensorError as error:
            raise OSError(f"{target} cannot be written: {error}") from None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, and the metadata strings, of a safetensors file.

    Raises:
        ArtefactError: when it is missing, truncated or not safetensors.
    """

    def read() -> tuple[dict[str, Tensor], dict[str, str]]:
        with safe_open(str(path), framework="pt", device="cpu") as stream:
            handle = cast(Any, stream)
            tensors = {name: cast(Tensor, handle.get_tensor(name)).clone() for name in handle.keys()}  # noqa: SIM118
            entries = dict(cast("dict[str, str] | None", handle.metadata()) or {})
            return tensors, json.loads(entries[METADATA]) if METADATA in entries else entries

    return _guarded(path, read)


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_manifest(
    folder: Path, kind: str, version: int, facts: Mapping[str, Any] | None = None, *, without: str = ""
) -> None:
    """Write `manifest.json`: kind, schema version, facts, and size and sha256 of every other file in `folder`.

    Files whose name starts with a dot are no part of an artefact, nor is the subfolder `without`.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST and not _left_out(path.relative_to(folder), without)
    }
    write_json(folder / MANIFEST, {"kind": kind, "version": version, **(facts or {}), "files": files})


def replace_json(folder: Path, name: str, value: Any) -> None:
    """Write a new version of a JSON file that `folder`'s manifest lists.

    The manifest first learns what is to come, so that a kill at any moment leaves a folder that can be believed.
    """
    text = _json_text(value)
    data = text.encode()
    manifest = read_json(folder / MANIFEST)
    entry = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["files"][name]["next"] = entry
    write_json(folder / MANIFEST, manifest)
    write_text(folder / name, text)
    manifest["files"][name] = entry
    write_json(folder / MANIFEST, manifest)


def read_manifest(folder: Path, kind: str, version: int, *, verify: bool = True) -> dict[str, Any]:
    """The manifest of an artefact folder, its files checked against it.

    Args:
        verify: compare each file's sha256 too, not only its presence and size.

    Raises:
        ArtefactError: when the folder is of another kind or version, or a file is missing or was changed.
    """
    if not folder.is_dir():
        raise ArtefactError(f"there is no {kind} folder here", where=str(folder))
    path = folder / MANIFEST
    if not path.is_file():
        raise ArtefactError(
            f"this folder is not a {kind}: it has no {MANIFEST}", where=str(folder), do="check the path"
        )
    manifest = read_json(path)
    if not isinstance(manifest, dict) or cast("dict[str, Any]", manifest).get("kind") != kind:
        found = cast("dict[str, Any]", manifest).get("kind") if isinstance(manifest, dict) else None
        raise ArtefactError(
            f"this folder is a {found or 'stranger'}, not a {kind}",
            where=str(folder),
            do=f"name the folder of a {kind}",
        )
    facts = cast("dict[str, Any]", manifest)
    if facts.get("version") != version:
        raise ArtefactError(
            f"this {kind} has schema version {facts.get('version')}; this palate reads version {version}",
            where=str(path),
            do="make it again with this version",
        )
    files = facts.get("files")
    if not isinstance(files, dict):
        raise ArtefactError("the manifest lists no files", where=str(path))
    for name, entry in cast("dict[str, Any]", files).items():
        file = inside(folder, name)
        if not isinstance(entry, dict):
            raise ArtefactError(f"the manifest's entry for '{name}' is damaged", where=str(path))
        entry = cast("dict[str, Any]", entry)
        if not file.is_file():
            raise ArtefactError(f"a file of this {kind} is missing", where=str(file), do="make it again")
        found = {"bytes": file.stat().st_size, "sha256": sha256_of(file) if verify else entry.get("sha256")}
        if found != {key: entry.get(key) for key in found} and found != entry.get("next"):
            raise ArtefactError(
                f"a file of this {kind} is not the one that was written (size or sha256 differ)",
                where=str(file),
                do="make it again, or restore it from a copy",
            )
    return facts


@contextmanager
def unchanged(folder: Path, *, but: str = "") -> Generator[Path, None, None]:
    """The folder itself, links followed, to be read within; what is read is of one state.

    Args:
        but: a file that may be written anew meanwhile.

    Raises:
        ArtefactError: when the folder was replaced, its manifest changed, or a link led elsewhere meanwhile.
    """
    before = _state(folder, but)
    linked = before is not None and str(before[0]) != os.path.abspath(folder)
    try:
        yield before[0] if before is not None and linked else folder
    except (ArtefactError, OSError):
        if _state(folder, but) == before:
            raise
    else:
        if _state(folder, but) == before:
            return
    raise ArtefactError("this folder was changed while it was read", where=str(folder), do="try again")


def _state(folder: Path, but: str) -> tuple[Path, int, object] | None:
    try:
        real = folder.resolve()
        manifest = read_json(real / MANIFEST)
        files = cast("dict[str, Any]", manifest).get("files") if isinstance(manifest, dict) else None
        if isinstance(files, dict):
            cast("dict[str, Any]", files).pop(but, None)
        return real, real.stat().st_ino, manifest
    except (OSError, RuntimeError, ArtefactError):
        return None


def kind_of(folder: Path) -> str | None:
    """What a stored folder's manifest says that it is; None without a manifest that says it.

    Raises:
        ArtefactError: when there is a manifest that cannot be read.
    """
    path = folder / MANIFEST
    found = read_json(path) if path.is_file() else None
    kind = cast("dict[str, object]", found).get("kind") if isinstance(found, dict) else None
    return kind if isinstance(kind, str) else None


def inside(folder: Path, name: str) -> Path:
    """The path `name` within `folder`.

    Raises:
        ArtefactError: when it would leave the folder.
    """
    try:
        path = (folder / name).resolve()
        leaves = not path.is_relative_to(folder.resolve())
    except (ValueError, RuntimeError):  # a zero byte, or links that lead to themselves
        leaves, path = True, folder
    if leaves:
        raise ArtefactError(f"the path '{name}' leaves its folder", where=str(folder))
    return path


def _left_out(path: Path, without: str) -> bool:
    return path.parts[0] == without or any(part.startswith(".") for part in path.parts)


def _limited(path: Path) -> Path:
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise ArtefactError(f"too large for JSON: {size:,} bytes, the limit is {MAX_JSON_BYTES:,}", where=str(path))
    return path


def _guarded(path: Path, read: Callable[[], R]) -> R:
    try:
        return read()
    except FileNotFoundError:
        raise ArtefactError("the file is missing", where=str(path)) from None
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        raise ArtefactError(f"the file cannot be read: {error}", where=str(path), do="restore or remake it") from None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 over names, types, shapes and bytes; equal exactly when the tensors are equal to the last bit."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
