"""Folders of other toolkits as catalogues: RecBole's atomic files, and MMRec's numbered items with their features.

`import_data` is the one way in for a file or such a folder; it gives an `Imported`: catalogue, report, and the feature
files whose rows are numbered as the items are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tokenize import TokenError

import numpy as np
import polars as pl

from palate.core.errors import ConfigError
from palate.ingest.catalogue import Catalogue, conform
from palate.ingest.columns import refuse_split
from palate.ingest.events import check_events
from palate.ingest.headless import refuse_unknown
from palate.ingest.importing import build_catalogue, cut, import_tables
from palate.ingest.naming import ColumnNames
from palate.ingest.parts import instead_of_folder, parts_of
from palate.ingest.report import Report
from palate.ingest.tables import read_table

INTER = ".inter"
PARTS = ("train", "valid", "test")
FEATURES = "_feat.npy"
# Modalities as toolkits shorten or call them.
MODALITIES = {
    "v": "image", "visual": "image", "vision": "image", "img": "image",
    "t": "text", "textual": "text", "txt": "text",
    "a": "audio", "acoustic": "audio",
}  # fmt: skip
_NUMBER = r"^(?:0|[1-9]\d{0,17})$"
_SHOWN = 5


@dataclass(frozen=True)
class FeatureFile:
    """Ready-made features that came with the data.

    Args:
        name: the modality.
        path: a `.npy` file.
        ids: the item ids of its rows, in order.
    """

    name: str
    path: Path
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Imported:
    """What was imported; nothing is stored yet.

    Args:
        catalogue: the tables.
        report: what was noted and dropped.
        features: the feature files that came with them.
    """

    catalogue: Catalogue
    report: Report
    features: tuple[FeatureFile, ...] = ()

    def save(
        self, folder: Path, take: Callable[[Path, FeatureFile, Sequence[str]], Sequence[str]], *, replace: bool = False
    ) -> Catalogue:
        """Store the catalogue together with its features, all or nothing.

        Args:
            folder: as in `Catalogue.save`.
            take: reads one feature file and stores its rows in the catalogue folder that it is given, for the items
                whose ids it is given, in that order; gives what should be known of them, which the report then says.
            replace: take the place of a catalogue that is there.

        Raises:
            ArtefactError: when something is there already that may not be replaced, or the disk refuses.
        """
        item_ids = self.catalogue.items["item_id"].to_list()

        def store(temporary: Path) -> None:
            for file in self.features:
                for note in take(temporary, file, item_ids):
                    self.report.add("note", str(file.path), note)

        return self.catalogue.save(folder, replace=replace, media=store)


def import_data(
    interactions: Path,
    items: Path | None = None,
    knowledge: Path | None = None,
    columns: ColumnNames | None = None,
    *,
    valid: Path | None = None,
    test: Path | None = None,
    events: Mapping[str, object] | None = None,
    no_header: Collection[str] = (),
    strict: bool = False,
    min_user: int = 0,
    min_item: int = 0,
    name: str | None = None,
) -> Imported:
    """Import files, or a folder of RecBole or MMRec; arguments and errors as in `import_tables`.

    Args:
        interactions: a file, or a folder of Parquet parts; or a folder for `import_folder`, which then brings its own
            items, knowledge and parts.

    Raises:
        ConfigError: when a folder is given together with files that are read from it.
    """
    if not interactions.is_dir() or (parts_of(interactions) and not any(interactions.glob(f"*{INTER}"))):
        catalogue, report = import_tables(
            interactions,
            items,
            knowledge,
            columns,
            valid=valid,
            test=test,
            events=events,
            no_header=no_header,
            strict=strict,
            min_user=min_user,
            min_item=min_item,
            name=name,
        )
        return Imported(catalogue, report)
    own = {"items": items, "knowledge": knowledge, "valid": valid, "test": test}
    if given := [key for key, path in own.items() if path is not None]:
        others = (
            instead_of_folder(interactions, header="interactions" not in no_header) or "name a file of interactions"
        )
        raise ConfigError(
            f"the interactions are a folder, which brings its own files; given too: {', '.join(given)}",
            where=str(interactions),
            do="name the .inter file itself to combine it with other files"
            if any(interactions.glob(f"*{INTER}"))
            else others,
        )
    return import_folder(
        interactions,
        columns,
        events=events,
        no_header=no_header,
        strict=strict,
        min_user=min_user,
        min_item=min_item,
        name=name,
    )


def import_folder(
    folder: Path,
    columns: ColumnNames | None = None,
    *,
    events: Mapping[str, object] | None = None,
    no_header: Collection[str] = (),
    strict: bool = False,
    min_user: int = 0,
    min_item: int = 0,
    name: str | None = None,
) -> Imported:
    """Import RecBole's atomic files or a folder of MMRec.

    Read are NAME.inter, or NAME.train.inter, NAME.valid.inter and NAME.test.inter (each of the latter two may be
    missing); NAME.item, NAME.kg and NAME.link; and every `*_feat.npy`, whose row i is item number i: then the items
    are the numbers from 0, those that nobody met included. MMRec's x_label 0, 1, 2 is the split. Users' attributes
    (NAME.user) are out of scope.

    Args:
        folder: the folder; the other arguments and the errors as in `import_tables`.
    """
    weights = None if events is None else check_events(events)
    report = Report()
    names = columns or ColumnNames()
    headless = refuse_unknown(no_header)
    stem, logs = _logs(folder, report, header="interactions" not in headless)
    beside = {suffix: folder / f"{stem}{suffix}" for suffix in (".item", ".kg", ".link")}
    headed = {suffix: name not in headless for suffix, name in ((".item", "items"), (".kg", "knowledge"))}
    tables = {
        suffix: read_table(path, report, header=headed.get(suffix, True)) if path.is_file() else None
        for suffix, path in beside.items()
    }
    rows = {split: read_table(path, report, header="interactions" not in headless) for split, path in logs.items()}
    if "" not in rows:
        refuse_split(names, str(folder), report)
    features, count = _features(folder, report)
    _note_others(folder, [*logs.values(), *beside.values(), *(file.path for file in features)], stem, report)
    catalogue = build_catalogue(
        rows.get("", rows) if rows else None,
        tables[".item"],
        tables[".kg"],
        names,
        report,
        links=tables[".link"],
        events=weights,
        strict=strict,
        name=name or stem or folder.resolve().name,
        media_root=None if tables[".item"] is None else str(folder.resolve()),
    )
    if count is not None:
        _check_numbers(catalogue, count, features[0].path, report)
        if tables[".item"] is None:
            # Rows of features whose item nobody met are items too: cold ones.
            catalogue = replace(catalogue, items=conform(pl.DataFrame({"item_id": features[0].ids}), "items"))
    return Imported(cut(catalogue, min_user, min_item, str(folder), report), report, features)


def _logs(folder: Path, report: Report, *, header: bool) -> tuple[str, dict[str, Path]]:
    """The name of the data, and their files of interactions by split; an undivided one has the split ""."""
    found = sorted(path for path in folder.glob(f"*{INTER}") if path.is_file() and not path.name.startswith("."))
    parts: dict[str, dict[str, Path]] = {}
    for path in found:
        stem, _, split = path.name.removesuffix(INTER).rpartition(".")
        whole = split not in PARTS or not stem
        parts.setdefault(path.name.removesuffix(INTER) if whole else stem, {})["" if whole else split] = path
    if len(parts) == 1:
        stem, logs = next(iter(parts.items()))
        if set(logs) == {""} or ("" not in logs and "train" in logs and len(logs) > 1):
            return stem, {split: logs[split] for split in ("", *PARTS) if split in logs}
    shown = ", ".join(path.name for path in found[:_SHOWN])
    report.add(
        "fatal",
        str(folder),
        f"one NAME{INTER} is needed, or NAME.train{INTER} with NAME.valid{INTER} or NAME.test{INTER}; "
        f"here {'are ' + shown if found else 'is none'}",
        do=("" if found else instead_of_folder(folder, header=header))
        or "name one file of interactions instead of the folder, or move the others away",
    )
    return "", {}


def _features(folder: Path, report: Report) -> tuple[tuple[FeatureFile, ...], int | None]:
    """The feature files, and how many items they number; None when there are none."""
    rows: dict[Path, int] = {}
    for path in sorted(folder.glob(f"*{FEATURES}")):
        try:
            shape = np.load(path, mmap_mode="r", allow_pickle=False).shape
        except (OSError, ValueError, EOFError, SyntaxError, TokenError, RecursionError, MemoryError) as error:
            report.add("fatal", str(path), f"this is no .npy matrix: {error}", do="mend it, or move it away")
            continue
        if len(shape) != 2 or min(shape) < 1:
            report.add("fatal", str(path), f"a matrix of items × width is needed; the shape is {shape}")
        else:
            rows[path] = shape[0]
    if not rows:
        return (), None
    if len(set(rows.values())) > 1:
        shown = ", ".join(f"{path.name} {count:,}" for path, count in rows.items())
        report.add(
            "fatal",
            str(folder),
            f"the feature files number their items differently: rows of {shown}",
            do="row i must be item number i in each of them",
        )
    names = [_modality(path) for path in rows]
    for name in sorted({name for name in names if names.count(name) > 1}):
        report.add("fatal", str(folder), f"two files hold features of {name}", do="move one of them away")
    count = max(rows.values())
    ids = tuple(str(number) for number in range(count))
    return tuple(FeatureFile(name, path, ids) for name, path in zip(names, rows, strict=True)), count


def _modality(path: Path) -> str:
    name = re.sub(r"[^a-z0-9_-]", "-", path.name.removesuffix(FEATURES).lower())
    return MODALITIES.get(name, name)


def _check_numbers(catalogue: Catalogue, count: int, file: Path, report: Report) -> None:
    """Item ids are numbers of rows; that is the only thing that aligns the two.

    Raises:
        DataError: with the whole report.
    """
    ids = catalogue.items["item_id"]
    strange = ids.filter(~ids.str.contains(_NUMBER))
    if not len(strange):
        strange = ids.filter(ids.cast(pl.Int64) >= count)
    if len(strange):
        report.add(
            "fatal",
            str(file),
            f"row i should be item number i, and the file has {count:,} rows; "
            f"{len(strange):,} item ids are no such number: {', '.join(strange.head(_SHOWN))}",
            do="move the feature files away, and bring them with palate encode --from FILE --ids IDS",
        )
        report.raise_if()


def _note_others(folder: Path, read: Sequence[Path], stem: str, report: Report) -> None:
    users = folder / f"{stem}.user"
    if users.is_file():
        report.add("note", str(users), "not read: attributes of users are out of scope")
    others = sorted(path.name for path in folder.iterdir() if path.is_file() and path not in read and path != users)
    if others:
        more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
        report.add("note", str(folder), f"files that are not read: {', '.join(others[:_SHOWN])}{more}")
