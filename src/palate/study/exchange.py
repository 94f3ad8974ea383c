"""A split and its features in the formats of other toolkits, and a run's lists for TREC's tools: others can check us.

What is written are the positives of each part, which is what other toolkits learn from and look for. Rows of other
ratings stay out: where they are, the full candidates differ from Palate's, which masks every train interaction.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from palate.core.artefact import atomic_folder
from palate.core.errors import ConfigError, DataError, unknown_name
from palate.core.places import file_name
from palate.dataset.dataset import Dataset, Mask
from palate.experiment import Run
from palate.graph.rows import Rows
from palate.measure.evaluation import ranked_lists

Format = Literal["mmrec", "recbole"]
PARTS = ("train", "valid", "test")
# MMRec's names of feature files; other modalities keep their own.
MMREC_FILES = {"image": "image_feat.npy", "text": "text_feat.npy"}


def export_data(dataset: Dataset, form: str, out: Path) -> list[str]:
    """Write the split and the features of a data set.

    Args:
        dataset: what to write.
        form: "mmrec" (NAME.inter with x_label, numbered ids, *_feat.npy, files of the ids) or "recbole" (benchmark
            files NAME.train.inter and so on, NAME.item, and NAME.MODALITY with a vector for each item that has one).
        out: a folder that does not exist yet.

    Returns:
        The names of the files.

    Raises:
        ConfigError: for an unknown format.
        DataError: for ids that the format cannot hold.
        ArtefactError: when something is in `out` already.
    """
    writers: dict[str, Callable[[Dataset, Path, str], None]] = {"mmrec": _mmrec, "recbole": _recbole}
    if form not in writers:
        raise ConfigError(unknown_name("format", form, writers), do=f"valid formats: {', '.join(writers)}")
    name = file_name(dataset.catalogue.name)
    for vocabulary in (dataset.users, dataset.items):
        _refuse_breaks(vocabulary.ids, r"[\t\r\n]", "tabs or line breaks")
    with atomic_folder(out) as folder:
        writers[form](dataset, folder, name)
    return sorted(path.name for path in out.iterdir())


def export_trec(run: Run, out: Path, *, mask: Mask = "train+valid", depth: int = 50) -> list[str]:
    """A run's ranked lists of the test users as `run.txt`, and the test positives as `qrels.txt`.

    The score column counts down from `depth`, so that equal scores keep the order they were ranked in.

    Args:
        run: a finished run.
        out: a folder that does not exist yet.
        mask: which rows are no candidates.
        depth: list length.
    """
    data, positives = run.data, run.data.positives["test"]
    for vocabulary in (data.users, data.items):
        _refuse_breaks(vocabulary.ids, r"\s", "white space")
    hidden = data.mask("test", mask)
    lists = ranked_lists(run.scorer, positives, hidden, seed=run.recipe.seed, depth=depth, title="ranking")
    width = lists.items.shape[1]
    real = lists.items.ravel() >= 0
    rank = np.tile(np.arange(1, width + 1), len(lists.users))[real]
    ranked = pl.DataFrame(
        {
            "user": data.users.ids.gather(np.repeat(lists.users, width)[real]),
            "q0": "Q0",
            "item": data.items.ids.gather(lists.items.ravel()[real]),
            "rank": rank,
            "score": (depth - rank + 1).astype(np.float64),
            "name": run.recipe.model,
        }
    )
    rows = positives.row_of_entry()
    judged = pl.DataFrame(
        {
            "user": data.users.ids.gather(rows),
            "zero": 0,
            "item": data.items.ids.gather(positives.columns),
            "relevance": 1,
        }
    )
    with atomic_folder(out) as folder:
        ranked.write_csv(folder / "run.txt", separator=" ", include_header=False, quote_style="never")
        judged.write_csv(folder / "qrels.txt", separator=" ", include_header=False, quote_style="never")
    return ["qrels.txt", "run.txt"]


def _refuse_breaks(ids: pl.Series, pattern: str, what: str) -> None:
    """Ids that would break a file's rows or columns are refused by name.

    Raises:
        DataError: for such an id.
    """
    broken = ids.filter(ids.str.contains(pattern))
    if len(broken):
        raise DataError(
            f"{len(broken):,} ids hold {what}, which separates columns in this format: {broken[0]!r}",
            do="rename them before you import the data",
        )


def _pairs(dataset: Dataset, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rows: Rows = dataset.positives[part]
    return rows.row_of_entry(), rows.columns.astype(np.int64)


def _known(dataset: Dataset, user: NDArray[np.int64], item: NDArray[np.int64]) -> pl.DataFrame:
    """The pairs with their ids, and with rating and time where the catalogue has them."""
    pairs = pl.DataFrame({"user_id": dataset.users.ids.gather(user), "item_id": dataset.items.ids.gather(item)})
    source = dataset.catalogue.interactions
    kept = [name for name in ("rating", "timestamp") if source[name].null_count() < len(source)]
    return pairs.join(
        source.select("user_id", "item_id", *kept), on=["user_id", "item_id"], how="left", maintain_order="left"
    )


def _mmrec(dataset: Dataset, folder: Path, name: str) -> None:
    tables: list[pl.DataFrame] = []
    for label, part in enumerate(PARTS):
        user, item = _pairs(dataset, part)
        known = _known(dataset, user, item).drop("user_id", "item_id")
        numbers = pl.DataFrame({"userID": user, "itemID": item})
        tables.append(pl.concat([numbers, known], how="horizontal").with_columns(x_label=pl.lit(label)))
    pl.concat(tables).write_csv(folder / f"{name}.inter", separator="\t")
    for kind, vocabulary in (("u", dataset.users), ("i", dataset.items)):
        number = "userID" if kind == "u" else "itemID"
        table = pl.DataFrame({"id": vocabulary.ids, number: np.arange(len(vocabulary))})
        table.write_csv(folder / f"{kind}_id_mapping.csv", separator="\t")
    for modality, features in dataset.features.items():
        file = MMREC_FILES.get(modality, f"{modality}_feat.npy")
        np.save(folder / file, features.matrix, allow_pickle=False)


def _recbole(dataset: Dataset, folder: Path, name: str) -> None:
    for part in PARTS:
        known = _known(dataset, *_pairs(dataset, part))
        kinds = {"user_id": "token", "item_id": "token", "rating": "float", "timestamp": "float"}
        named = known.rename({column: f"{column}:{kinds[column]}" for column in known.columns})
        named.write_csv(folder / f"{name}.{part}.inter", separator="\t", quote_style="never")
    items = dataset.items.ids
    titles = dataset.catalogue.items.select("item_id", "title")
    clean = pl.col("title").fill_null("").str.replace_all(r"[\t\r\n]", " ").alias("title:token_seq")
    table = pl.DataFrame({"item_id": items}).join(titles, on="item_id", how="left", maintain_order="left")
    table.select(pl.col("item_id").alias("item_id:token"), clean).write_csv(
        folder / f"{name}.item", separator="\t", quote_style="never"
    )
    for modality, features in dataset.features.items():
        rows = np.flatnonzero(features.present)
        vectors = [" ".join(f"{value:.9g}" for value in features.matrix[row].tolist()) for row in rows]
        pl.DataFrame({"item_id:token": items.gather(rows), f"{modality}:float_seq": vectors}).write_csv(
            folder / f"{name}.{modality}", separator="\t", quote_style="never"
        )
