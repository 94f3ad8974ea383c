"""A trained model and its data set → the bundle that is served of them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from palate.core.errors import ConfigError, unknown_name
from palate.dataset.dataset import Dataset
from palate.encode.concat import unit_rows
from palate.encode.features import Features
from palate.graph.rows import Rows
from palate.models.base import Embeddings, Model, Scorer
from palate.models.crmman import CRMMAN
from palate.recommend.bundle import MOST_KINDS, Bundle, ContentFacts, Facts, FoldInFacts, ModalityFacts
from palate.recommend.colditem import ContentPath, How, Regression, described_by, with_cold_items
from palate.recommend.contentpaths import own_path
from palate.recommend.foldin import FoldIn, Quality, choose, set_attention
from palate.recommend.forms import Form, Vectors, Weights, classical_form, vector_form
from palate.version import __version__

Keep = Literal["float16", "float32", "none"]
KEEP, HOW = ("float16", "float32", "none"), ("auto", "content", "regression", "none")


def bundle_of(
    name: str,
    model: Model,
    scorer: Scorer,
    dataset: Dataset,
    *,
    content: Mapping[str, Features] | None = None,
    keep: Keep = "float16",
    new_items: How = "auto",
    recipe: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Bundle:
    """What is served of a trained model.

    Args:
        name: the model's registered name.
        model: with its trained parameters.
        scorer: its scores.
        dataset: what it was trained on, as the model sees it.
        content: modality → features of all items in the order of their row numbers, for neighbours by modality and new
            items; None: those of the data set.
        keep: the precision in which unit rows of `content` are kept; "none" leaves them out, and then AlignRec,
            FREEDOM and ContentKNN have no way of their own for new items.
        new_items: the model's own way from content to items ("content"), a regression, or neither; "auto": the
            regression, which ranks new items better than the own ways do (docs/experiments.md), where there are
            vectors to lead to; else its own way (ContentKNN).
        recipe: of the run.
        seed: of the users whom the fold-in is measured on.

    Raises:
        ConfigError: for an unknown choice, or a way for new items that the model does not have.
    """
    check_choice("precision", keep, KEEP)
    check_choice("way for new items", new_items, HOW)
    content = dict(sorted((dataset.features if content is None else content).items()))
    kept = {} if keep == "none" else {key: unit(value, keep) for key, value in content.items()}
    liked = dataset.positives["train"]
    quality: Quality | None = None
    form: Form
    vectors = scorer.item.float() if isinstance(scorer, Embeddings) else None
    path = (
        None if new_items == "none" else content_path(name, model, vectors, dataset, content, kept or None, new_items)
    )
    placed = 0
    if isinstance(scorer, Embeddings):
        embeddings = Embeddings(scorer.user.float(), scorer.item.float())
        if path is not None:
            unlearnt = liked.transpose().lengths == 0
            if isinstance(model, CRMMAN) and dataset.dislikes is not None:
                # It learns from dislikes too, and folds histories in by the vectors that these items then have.
                unlearnt &= dataset.dislikes.transpose().lengths == 0
            readable = content if isinstance(path, Regression) else dataset.features
            cold = described_by(path, readable, np.flatnonzero(unlearnt))
            embeddings, placed = with_cold_items(embeddings, path, readable, cold), len(cold)
        folding: FoldIn
        if isinstance(model, CRMMAN):
            folding = set_attention(copy.deepcopy(model).float(), embeddings.item)
        else:
            folding, quality = choose(embeddings, liked, dataset.positives["valid"], dataset.mask("valid"), seed)
        form = vector_form(model, embeddings, folding)
    else:
        form = classical_form(model, liked)
    read = {*kept, *(() if path is None else path.modalities)}
    facts = Facts(
        model=name,
        title=type(model).title,
        form=form.kind,  # pyright: ignore[reportArgumentType]
        users=len(dataset.users),
        items=len(dataset.items),
        width=form.item.shape[1] if isinstance(form, Vectors) else None,
        stored=len(form.values) if isinstance(form, Weights) else 0,
        positive="all" if dataset.settings.positive is None else dataset.settings.positive,
        dislike=dataset.settings.dislike,
        rated=_rated(dataset),
        features={key: ModalityFacts(width=value.width, encoder=value.encoder) for key, value in kept.items()},
        columns={key: content[key].columns for key in read if content[key].columns},
        precision="float32" if keep == "float32" else "float16",
        fold_in=None if not isinstance(form, Vectors) else _fold_in_facts(form.folding, quality),
        content=None if path is None else _content_facts(path),
        placed=placed,
        name=dataset.catalogue.name,
        recipe=dict(recipe or {}),
        fingerprint=dataset.fingerprint,
        kinds=_kinds(dataset),
        palate=__version__,
    )
    nothing = Rows(np.zeros(len(dataset.users) + 1, np.int64), np.zeros(0, np.int32), len(dataset.items))
    seen = dataset.known().take(np.arange(len(dataset.users)))
    disliked = dataset.dislikes or nothing
    return Bundle(facts, form, dataset.users, dataset.items, item_table(dataset), liked, disliked, seen, kept, path)


def _kinds(dataset: Dataset) -> tuple[str, ...] | None:
    """The kinds of event of the catalogue; None where they are so many that they are no kinds."""
    found = dataset.catalogue.interactions["event"].drop_nulls().unique()
    return None if len(found) > MOST_KINDS else tuple(sorted(found))


def _rated(dataset: Dataset) -> tuple[float, float] | None:
    """The least and the greatest rating of the catalogue; None where it has no ratings."""
    ratings = dataset.catalogue.interactions["rating"].drop_nulls()
    return None if not len(ratings) else (float(ratings.min()), float(ratings.max()))  # pyright: ignore[reportArgumentType]


def check_choice(kind: str, value: str, valid: tuple[str, ...]) -> None:
    """Refuse a word that is not among `valid`.

    Raises:
        ConfigError: with the nearest one.
    """
    if value not in valid:
        raise ConfigError(unknown_name(kind, value, valid), do=f"choose one of {', '.join(valid)}")


def _fold_in_facts(folding: FoldIn, quality: Quality | None) -> FoldInFacts:
    measured = None if quality is None else dataclasses.asdict(quality)
    return FoldInFacts(kind=folding.kind, settings=folding.settings(), quality=measured)


def _content_facts(path: ContentPath) -> ContentFacts:
    modalities = {key: ModalityFacts(width=like.width, encoder=like.encoder) for key, like in path.modalities.items()}
    return ContentFacts(kind=path.kind, settings=path.settings(), modalities=modalities)


def content_path(
    name: str,
    model: Model,
    item: torch.Tensor | None,
    dataset: Dataset,
    content: Mapping[str, Features],
    kept: Mapping[str, Features] | None,
    how: How,
) -> ContentPath | None:
    """How new items are placed.

    Args:
        item: the item vectors; None for a model without any.
        content: what a regression may read.
        kept: rows that may be kept, for ways that need the known items' content.
        how: see `bundle_of`.

    Raises:
        ConfigError: when the way that was asked for does not exist.
    """
    warm = np.flatnonzero(dataset.positives["train"].transpose().lengths)
    title = type(model).title
    regressed = how != "content" and item is not None and bool(content) and len(warm) > 0
    if how == "content" or (how == "auto" and not regressed):
        usable = kept is not None and all(key in kept for key in dataset.features)
        path = own_path(name, model, dataset.features, warm, kept if usable else None)
        if path is not None:
            return path
        if how == "content":
            raise ConfigError(
                f"{title} has no way of its own from content to items, with these settings and what is kept",
                do="leave it to 'auto', or ask for 'regression'",
            )
    if item is not None and regressed:
        return Regression.fit(item, content, warm)
    if how == "regression":
        lacking = "has no item vectors" if item is None else "has no content to start from: encode the catalogue first"
        raise ConfigError(f"a regression leads from content to item vectors, and {title} {lacking}")
    return None


def unit(features: Features, keep: Keep) -> Features:
    """Rows of unit length, as precise as they will be stored."""
    rows = unit_rows(features.matrix)
    if keep == "float16":
        rows = rows.astype(np.float16).astype(np.float32)
    return Features(features.name, rows, features.present, features.encoder, features.ids)


def item_table(dataset: Dataset) -> pl.DataFrame:
    """The catalogue's item table in the order of the row numbers."""
    wanted = pl.DataFrame({"item_id": dataset.items.ids})
    return wanted.join(dataset.catalogue.items, on="item_id", how="left", maintain_order="left")
