"""Recommendations and similar items of one model: from what was asked to what is answered, without any web in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from palate.core.errors import DataError, PalateError
from palate.encode.features import Features
from palate.graph.rows import IntArray, Rows
from palate.recommend import alike, foldin
from palate.recommend.alike import OrPopular
from palate.recommend.bundle import one_row
from palate.recommend.conditions import Condition, Sign
from palate.recommend.explain import nearest_history, neighbours_of
from palate.recommend.filters import both, known_ids
from palate.recommend.forms import Given, Vectors, Weights
from palate.recommend.index import BoolArray, Index
from palate.recommend.rerank import Candidates, Rules, Search, choose, search_index, search_scorer
from palate.serve.content import Readers, kept_by, placed_by
from palate.serve.items import short_items
from palate.serve.refusals import Refusal, plain
from palate.serve.schema import (
    ForImage,
    ForItems,
    ForText,
    ForUser,
    NearImage,
    NearItem,
    NearText,
    Range,
    Reason,
    RecommendAnswer,
    Recommendation,
    SimilarAnswer,
    SimilarItem,
    Why,
    Wish,
)
from palate.serve.state import Served

Query = Literal["user", "items", "text", "image"]

OWN = "model"
REASONS = 5
NOBODY_YET = "none of these items counts as liked, so this is what somebody without a history gets"
UNSCALED = "every item that is given counts as liked, whatever its rating, as every interaction did in training"
DISLIKES_ALONE = "none of these items counts as liked, so this comes of what is disliked alone"


@dataclass(frozen=True, eq=False)
class Person:
    """For whom a list is made.

    Attributes:
        kind: how the person is known.
        search: finds candidates among allowed items.
        history: row numbers of the items that the scores come of.
        vector: d, where the model has vectors.
    """

    kind: Query
    search: Callable[[BoolArray | None], Search]
    history: IntArray
    vector: Tensor | None = None
    notes: list[str] = field(default_factory=list[str])


def recommend(served: Served, asked: Wish, readers: Readers) -> RecommendAnswer:
    """Recommendations.

    Args:
        asked: `ForUser`, `ForItems`, `ForText` or `ForImage`.

    Raises:
        PalateError: when it cannot be answered; a `Refusal` says with which status.
    """
    allowed, left_out = _allowed(served, asked)
    with torch.inference_mode():
        person = _person(served, asked, readers)
        search = OrPopular(person.search(allowed), served.counts)
        rules = _rules(served, asked)
        found = search(asked.k, None) if rules is None else choose(search, asked.k, rules)
        notes = person.notes + left_out + alike.notes([alike.about(search, found, rules)], asked.k, asked.cold_quota)
        if len(found) < asked.k:
            notes.append(f"{len(found):,} of {asked.k:,}: no other item may be in this list")
        why = _reasons(served, asked, person, found.items) if asked.explain else [None] * len(found)
    items = [
        Recommendation(**short, score=score, rank=rank, **({} if reason is None else {"why": reason}))
        for rank, (short, score, reason) in enumerate(
            zip(short_items(served, found.items), found.scores.tolist(), why, strict=True), start=1
        )
    ]
    return RecommendAnswer(model=served.name, query=person.kind, items=items, notes=notes)


def _allowed(served: Served, asked: Wish) -> tuple[BoolArray | None, list[str]]:
    """The items that may be in the list, and notes on what was asked for in vain."""
    conditions: list[Condition] = []
    for column, wanted in asked.where.items():
        if column not in served.filters.columns:
            known = ", ".join(served.filters.columns)
            raise Refusal(404, f"there is no item column '{column}'", where="where", do=f"there are: {known}")
        if isinstance(wanted, Range):
            ends: tuple[tuple[Sign, str | float | None], ...] = ((">=", wanted.min), ("<=", wanted.max))
            conditions += [Condition(column, sign, (_text(end),)) for sign, end in ends if end is not None]
        else:
            values = wanted if isinstance(wanted, list) else [wanted]
            conditions.append(Condition(column, "=", tuple(_text(value) for value in values)))
    deny, notes = known_ids(asked.deny, served.bundle.items, "deny")
    allow = asked.allow
    if allow:
        allow, unknown = known_ids(allow, served.bundle.items, "allow")
        notes = unknown + notes
        if not allow:
            raise Refusal(404, "there is no item of an id in 'allow'", where="allow", do="see /v1/items?query=…")
    allowed = served.filters.mask((), allow=allow, deny=deny)
    for condition in conditions:
        try:
            allowed = both(allowed, served.filters.mask([condition]))
        except DataError as error:
            # A value that no item has is something that is not there; to compare words with numbers is a mistake.
            raise Refusal(
                404 if condition.sign == "=" else 422, error.what, where=str(condition), do=error.do
            ) from None
    return allowed, [plain(note) for note in notes]


def _text(value: str | bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _person(served: Served, asked: Wish, readers: Readers) -> Person:
    if isinstance(asked, ForUser):
        return _known(served, asked)
    if isinstance(asked, ForItems):
        return _folded(served, asked)
    assert isinstance(asked, ForText | ForImage)
    kind, value = ("text", asked.text) if isinstance(asked, ForText) else ("image", asked.image)
    if served.bundle.content is None:
        raise Refusal(
            422,
            "this model cannot be asked by a description or a picture: it places no new items",
            do="choose another model; similar items can be asked for",
        )
    features = readers.read(readers.find(kind, placed_by(served.bundle)), value)
    return replace(_taste(served, features), kind=kind)


def _known(served: Served, asked: ForUser) -> Person:
    bundle, row = served.bundle, served.user(asked.user)
    history = bundle.liked[row].astype(np.int64)
    if served.index is not None and isinstance(bundle.form, Vectors):
        hidden = bundle.seen.take(np.array([row])) if asked.exclude_seen else None
        vector = bundle.form.user[row]
        return Person("user", _by_index(served.index, vector, hidden, row), history, vector)
    hidden = bundle.seen if asked.exclude_seen else None

    def search(allowed: BoolArray | None) -> Search:
        return search_scorer(bundle.form, row, allowed=allowed, mask=hidden, seed=served.seed)

    return Person("user", search, history)


def _folded(served: Served, asked: ForItems) -> Person:
    bundle, count = served.bundle, len(served.bundle.items)
    given: dict[int, float | None] = {}
    for each in asked.items:
        # Of an item that is named twice, the last mention counts, and stands where that is.
        row = served.item(each.id)
        given.pop(row, None)
        given[row] = each.rating
    rows, ratings = np.array(list(given), dtype=np.int64), list(given.values())
    unrated = np.array([rating is None for rating in ratings])
    rated = [rating for rating in ratings if rating is not None]
    facts = bundle.facts
    liked, disliked = foldin.by_rating(rows[~unrated], rated, facts.positive, facts.dislike)
    liked = rows[unrated | np.isin(rows, liked)]
    averse = len(disliked) > 0 and isinstance(bundle.form, Vectors) and bundle.form.folding.dislikes
    notes = [] if len(liked) else [DISLIKES_ALONE if averse else NOBODY_YET]
    notes += [UNSCALED] if rated and facts.positive == "all" else []
    likes, dislikes = one_row(liked, count), one_row(disliked, count)
    hidden = one_row(rows, count) if asked.exclude_seen else None
    if served.index is not None and isinstance(bundle.form, Vectors):
        vector = bundle.form.folding.vectors(likes, dislikes)[0]
        return Person("items", _by_index(served.index, vector, hidden, 0), liked, vector, notes)
    scores = bundle.form.fold(likes, dislikes).scores
    return Person("items", _by_scores(scores, hidden, served.seed), liked, None, notes)


def _taste(served: Served, features: Features) -> Person:
    """Somebody who liked just a new item."""
    bundle, nothing = served.bundle, np.zeros(0, np.int64)
    placed = bundle.place({features.name: features})
    notes = ["ranked for somebody who liked just this"]
    if placed.vectors is not None and served.index is not None and isinstance(bundle.form, Vectors):
        folding = bundle.form.folding
        # The way to a user vector, over a catalogue that holds the new item alone.
        alone = foldin.restore(folding.kind, placed.vectors, folding.settings(), folding.tensors())
        vector = alone.vectors(one_row(np.zeros(1, np.int64), 1), one_row(nothing, 1))[0]
        return Person("text", _by_index(served.index, vector, None, 0), nothing, vector, notes)
    assert placed.weights is not None
    # Items that it has no weight to are in no order.
    scores = placed.weights.masked_fill(placed.weights <= 0, -torch.inf)
    return Person("text", _by_scores(scores, None, served.seed), nothing, None, notes)


def _by_index(index: Index, vector: Tensor, hidden: Rows | None, owner: int) -> Callable[[BoolArray | None], Search]:
    return lambda allowed: search_index(index, vector, allowed=allowed, hidden=hidden, owner=owner)


def _by_scores(scores: Tensor, hidden: Rows | None, seed: int) -> Callable[[BoolArray | None], Search]:
    return lambda allowed: search_scorer(Given(scores), 0, allowed=allowed, mask=hidden, seed=seed)


def _rules(served: Served, asked: Wish) -> Rules | None:
    bundle, diversity = served.bundle, None
    if asked.diversify is not None:
        if asked.diversify.by not in (OWN, *bundle.features):
            valid = ", ".join((OWN, *bundle.features))
            raise Refusal(
                404, f"there is no modality '{asked.diversify.by}'", where="diversify.by", do=f"there are: {valid}"
            )
        if asked.diversify.by == OWN and bundle.item_vectors is None:
            raise Refusal(422, f"{bundle.facts.title} has no item vectors", where="diversify.by", do="name a modality")
        diversity = f"{asked.diversify.by}:{1 - asked.diversify.strength:f}"
    rules = Rules.parse(
        bundle.liked,
        bundle.features,
        bundle.item_vectors,
        cap=None if asked.popularity_cap is None else str(asked.popularity_cap),
        diversity=diversity,
        cold=asked.cold_quota,
    )
    # What is popular, and what nobody took, is worked out once for a model.
    if rules is not None and rules.cap is not None:
        vars(rules)["head"] = served.rules.head
    if rules is not None and rules.cold:
        vars(rules)["is_cold"] = served.rules.is_cold
    return rules


def _reasons(served: Served, asked: Wish, person: Person, items: IntArray) -> list[Why | None]:
    form, branches = served.bundle.form, served.branches
    added = [{} for _ in items] if person.vector is None else branches.of(person.vector, items)
    found: list[Why | None] = []
    for place, item in enumerate(items.tolist()):
        near, basis = nearest_history(form, item, person.history, REASONS)
        said = "contribution" if basis == "weight" else "similarity"
        history = [
            Reason(**short, **{said: value})
            for short, value in zip(short_items(served, near.items), near.values.tolist(), strict=True)
        ]
        more: dict[str, Any] = {}
        if branches.placed[item]:
            more["placed"] = True
        if asked.neighbours:
            more["neighbours"] = _neighbours(served, item, asked.neighbours)
        found.append(Why(branches=added[place], history=history, **more))
    return found


def _neighbours(served: Served, item: int, k: int) -> dict[str, list[SimilarItem]]:
    found = neighbours_of(item, served.bundle.features, k)
    return {name: _listed(served, near.items, near.values) for name, near in found.items()}


def similar(served: Served, asked: NearItem | NearText | NearImage, readers: Readers) -> SimilarAnswer:
    """Items similar to one of the catalogue, to a description, or to a picture.

    Raises:
        PalateError: when it cannot be answered.
    """
    own = served.item(asked.item) if isinstance(asked, NearItem) else None
    if asked.by != OWN and asked.by not in served.bundle.features:
        valid = ", ".join((OWN, *served.bundle.features))
        raise Refusal(404, f"there is no modality '{asked.by}'", where="by", do=f"there are: {valid}")
    with torch.inference_mode():
        if own is not None:
            found = (
                _near_model(served, own, asked.k) if asked.by == OWN else _near_content(served, own, asked.by, asked.k)
            )
        else:
            assert isinstance(asked, NearText | NearImage)
            found = _near_new(served, asked, readers)
    notes = [] if found is not None else [f"this item has no {asked.by}"]
    nothing = Candidates(np.zeros(0, np.int64), np.zeros(0))
    found = found or nothing
    items = _listed(served, found.items, found.scores)
    return SimilarAnswer(model=served.name, by=asked.by, items=items, notes=notes)


def _near_model(served: Served, own: int, k: int) -> Candidates:
    form = served.bundle.form
    count = len(served.bundle.items)
    if served.near is not None and isinstance(form, Vectors):
        return _without(
            search_index(served.near, F.normalize(form.item[own], dim=0)), one_row(np.array([own]), count), k
        )
    if isinstance(form, Weights):
        stored = slice(int(form.weights.pointer[own]), int(form.weights.pointer[own + 1]))
        scores = torch.full((1, count), -torch.inf, dtype=torch.float32)
        scores[0, torch.from_numpy(form.weights.columns[stored].astype(np.int64))] = torch.from_numpy(
            form.values[stored]
        )
        scores[0, own] = -torch.inf
        return _positive(search_scorer(Given(scores), 0, seed=served.seed)(k, None))
    raise PalateError(f"{served.bundle.facts.title} compares no items", where="by", do="name a modality")


def _near_content(served: Served, own: int, by: str, k: int) -> Candidates | None:
    features = served.bundle.features[by]
    if not features.present[own]:
        return None
    search = search_index(served.modal[by], features.matrix[own].copy(), allowed=features.present)
    return _without(search, one_row(np.array([own]), len(features)), k)


def _near_new(served: Served, asked: NearText | NearImage, readers: Readers) -> Candidates:
    bundle = served.bundle
    kind, value = ("text", asked.text) if isinstance(asked, NearText) else ("image", asked.image)
    known = placed_by(bundle) if asked.by == OWN else {asked.by: kept_by(bundle)[asked.by]}
    features = readers.read(readers.find(kind, known, kept_by(bundle)), value)
    if asked.by != OWN:
        row = features.matrix[0] / max(float(np.linalg.norm(features.matrix[0])), 1e-12)
        search = search_index(served.modal[asked.by], row, allowed=bundle.features[asked.by].present)
        return search(asked.k, None)
    placed = bundle.place({features.name: features})
    if placed.vectors is not None and served.near is not None:
        return search_index(served.near, F.normalize(placed.vectors[0], dim=0))(asked.k, None)
    assert placed.weights is not None
    return _positive(search_scorer(Given(placed.weights), 0, seed=served.seed)(asked.k, None))


def _without(search: Search, own: Rows, k: int) -> Candidates:
    """The k best but the item itself."""
    found = search(k + 1, None)
    return found.take(np.flatnonzero(~np.isin(found.items, own.columns))).take(slice(k))


def _positive(found: Candidates) -> Candidates:
    return found.take(np.flatnonzero(found.scores > 0))


def _listed(served: Served, items: IntArray, values: NDArray[np.float64]) -> list[SimilarItem]:
    return [
        SimilarItem(**short, similarity=value, rank=rank)
        for rank, (short, value) in enumerate(zip(short_items(served, items), values.tolist(), strict=True), start=1)
    ]
