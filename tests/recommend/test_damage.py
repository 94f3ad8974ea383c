"""Every value of a manifest, and the type and shape of every array, is looked at before a bundle is believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from palate.core.artefact import MANIFEST, read_json, read_tensors, sha256_of
from palate.core.errors import ArtefactError
from palate.recommend.bundle import Bundle
from recommend import trained

# One of each form, fold-in and way from content to items.
MADE = (
    ("bpr", "auto"),
    ("itemknn", "auto"),
    ("crmman", "content"),
    ("freedom", "content"),
    ("contentknn", "content"),
    ("popularity", "auto"),
)
# What is told and not looked at.
TOLD = {"recipe"}
# Any number may be a rating: the one from which something is liked or disliked, the least and the greatest.
THRESHOLDS = {"positive", "dislike", "rated"}
DAMAGED: Any = {"damaged": []}
STRANGE: tuple[Any, ...] = ("no such", -1, 1.5, 10**30, float("inf"), None, [])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bundles")
    for name, how in MADE:
        trained.bundle(name, new_items=how, keep="float16").save(root / name)
    return {name: root / name for name, _ in MADE}


@pytest.fixture
def folder(folders: dict[str, Path], request: pytest.FixtureRequest) -> Generator[Path]:
    """A bundle that every test may damage; it is mended afterwards."""
    found = folders[request.param]
    kept = {path: path.read_bytes() for path in found.iterdir()}
    yield found
    for path, content in kept.items():
        path.write_bytes(content)
    Bundle.load(found)


every_kind = pytest.mark.parametrize("folder", [name for name, _ in MADE], indirect=True)


def leaves(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        if key not in TOLD:
            yield (*place, key), inner
            yield from leaves(inner, (*place, key))


def loads_with(folder: Path, manifest: Any, place: tuple[str | int, ...], value: Any) -> bool:
    changed = json.loads(json.dumps(manifest))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (folder / MANIFEST).write_text(json.dumps(changed))
    try:
        Bundle.load(folder)
    except ArtefactError:
        return False
    return True


@every_kind
def test_no_value_of_a_manifest_may_be_anything_else(folder: Path) -> None:
    manifest = read_json(folder / MANIFEST)
    places = dict(leaves(manifest))
    assert len(places) > 20
    believed = [(place, DAMAGED) for place in places if loads_with(folder, manifest, place, DAMAGED)]
    for place, value in places.items():
        settings = "config" in place
        numbers = isinstance(value, int | float) and not isinstance(value, bool)
        if numbers and not settings and not THRESHOLDS & set(place):
            # What no file depends on: how much of something was added, explained or measured, by a sane number.
            sane: dict[Any, set[Any]] = {
                "events": {10**30},
                "explained": {-1, 1.5, 10**30},
                "share": {1.5, 10**30},
                **{key: {-1, 1.5, 10**30, None} for key in ("trained", "folded")},
            }
            fine = {-1, 1.5, 10**30} if "tried" in place else sane.get(place[-1], set())
            believed += [
                (place, strange)
                for strange in STRANGE
                if strange not in [*fine, value] and loads_with(folder, manifest, place, strange)
            ]
    assert believed == []


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


def other_types(value: Tensor) -> list[Tensor]:
    types = (torch.float64, torch.float32, torch.int64, torch.float8_e4m3fn)
    return [value.to(kind) for kind in types if kind != value.dtype]


def other_shapes(value: Tensor) -> list[Tensor]:
    if value.ndim == 0:
        return [value.unsqueeze(0)]
    more, less = torch.cat([value, value[:1]]), value.narrow(-1, 0, value.shape[-1] - 1)
    return [value.unsqueeze(0), more, less]


def believed(folder: Path, changes: Callable[[Tensor], list[Tensor]]) -> list[str]:
    """Which changes of an array a bundle is believed with, its manifest agreeing."""
    found: list[str] = []
    manifest = read_json(folder / MANIFEST)
    for file in files_of(folder):
        tensors, _ = read_tensors(folder / file)
        kept = (folder / file).read_bytes()
        variants = [
            (f"{file}: {name} as {value.dtype} {tuple(value.shape)}", {**tensors, name: value})
            for name, whole in tensors.items()
            for value in changes(whole)
        ]
        without = [(f"{file}: no {name}", {key: tensors[key] for key in tensors if key != name}) for name in tensors]
        for label, variant in [*variants, *without, (f"{file}: a stranger", {**tensors, "stranger": torch.ones(1)})]:
            save_file({key: value.contiguous() for key, value in variant.items()}, folder / file)
            entry = {"bytes": (folder / file).stat().st_size, "sha256": sha256_of(folder / file)}
            changed = {**manifest, "files": {**manifest["files"], file: entry}}
            (folder / MANIFEST).write_text(json.dumps(changed))
            try:
                Bundle.load(folder)
            except ArtefactError:
                continue
            found.append(label)
        (folder / file).write_bytes(kept)
        (folder / MANIFEST).write_text(json.dumps(manifest))
    return found


@every_kind
def test_no_array_may_be_of_another_type(folder: Path) -> None:
    assert believed(folder, other_types) == []


@every_kind
def test_no_array_may_be_of_another_shape(folder: Path) -> None:
    assert believed(folder, other_shapes) == []
