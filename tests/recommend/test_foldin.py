"""New users: exactly as known ones where a model knows users by their items, by a fitted map where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from palate.core.errors import DataError
from palate.graph.rows import Rows
from palate.models import MODELS
from palate.models.base import Embeddings
from palate.models.classical.ease import EASE
from palate.models.classical.neighbourhood import Neighbourhood
from palate.recommend.foldin import MappedMean, aggregate, by_rating, choose
from palate.recommend.forms import Places
from recommend import trained

ITEM_TO_ITEM = [name for name in trained.NAMES if issubclass(MODELS[name], EASE | Neighbourhood)]


def likes(matrix: np.ndarray) -> Rows:
    return Rows.from_pairs(*np.nonzero(matrix), *matrix.shape)


def nothing(users: int, items: int) -> Rows:
    return Rows(np.zeros(users + 1, np.int64), np.zeros(0, np.int32), items)


@pytest.mark.parametrize("name", [*ITEM_TO_ITEM, "crmman", "popularity"])
def test_a_known_history_gives_the_scores_that_the_trained_model_gives(name: str) -> None:
    bundle, expected = trained.bundle(name), trained.scores(name)
    found = bundle.fold_rows(bundle.liked, bundle.disliked)
    assert torch.allclose(found.scores, expected, atol=1e-5)
    if found.vectors is not None:
        assert torch.allclose(found.vectors, trained.model(name).scorer().user, atol=1e-6)  # pyright: ignore


def test_crmman_looks_at_dislikes_and_at_the_order_no_further_than_its_sets_reach() -> None:
    bundle = trained.bundle("crmman")
    liked, disliked = bundle.liked[0], bundle.disliked[0]
    assert len(disliked)
    items = bundle.items.ids.to_list()
    ids = [items[row] for row in [*liked, *disliked]]
    ratings = [5.0] * len(liked) + [1.0] * len(disliked)
    rated = bundle.fold_in(ids, ratings)
    assert torch.allclose(rated.scores[0], trained.scores("crmman")[0], atol=1e-5)
    assert not torch.allclose(rated.scores, bundle.fold_in(ids[: len(liked)]).scores)


@pytest.mark.parametrize("name", trained.NAMES)
def test_every_model_takes_new_users_with_any_number_of_items(name: str) -> None:
    bundle = trained.bundle(name)
    ids = bundle.items.ids.to_list()
    for count in (0, 1, 3, len(ids)):
        folded = bundle.fold_in(ids[:count])
        assert folded.scores.shape == (1, len(ids))
        assert torch.isfinite(folded.scores).all()
        if bundle.facts.form == "vectors":
            assert folded.vectors is not None
            assert torch.allclose(folded.vectors @ torch.tensor(bundle.item_vectors).T, folded.scores, atol=1e-5)
    together = bundle.fold_rows(bundle.liked.take(np.array([1, 0])), bundle.disliked.take(np.array([1, 0])))
    apart = [
        bundle.fold_rows(bundle.liked.take(row), bundle.disliked.take(row)) for row in (np.array([1]), np.array([0]))
    ]
    assert torch.allclose(together.scores, torch.cat([one.scores for one in apart]), atol=1e-5)


def test_the_canary_places_a_newcomer_by_its_first_item() -> None:
    form = Places(torch.tensor([0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0, 3.0]), 1)
    folded = form.fold(likes(np.array([[0, 1, 0, 1]])), nothing(1, 4))
    assert folded.scores.tolist() == [[-0.5, 0.0, -1.0, -2.0]]
    assert Places(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 4.0]), -1).fold(
        likes(np.array([[1, 0]])), nothing(1, 2)
    ).scores.tolist() == [[-2.0, -1.0]]


@pytest.mark.parametrize("spread", ["mean", "root"])
def test_users_that_are_a_linear_map_of_their_items_are_found(spread: str) -> None:
    generator = np.random.default_rng(0)
    items = torch.tensor(generator.normal(size=(30, 5)), dtype=torch.float32)
    liked = likes(generator.random((60, 30)) < 0.3)
    turn = torch.tensor(generator.normal(size=(5, 5)), dtype=torch.float32)
    users = aggregate(items, liked, spread) @ turn + 0.5  # pyright: ignore
    known = np.arange(40)
    folding = MappedMean.fit(Embeddings(users, items), liked, known, spread)  # pyright: ignore
    others = liked.take(np.arange(40, 60))
    assert torch.allclose(folding.vectors(others, nothing(20, 30)), users[40:], atol=2e-2)
    assert torch.allclose(folding.vectors(nothing(1, 30), nothing(1, 30)), users[:40].mean(0), atol=1e-5)


def test_aggregates_are_what_their_names_say() -> None:
    items, liked = torch.tensor([[1.0, 0.0], [3.0, 2.0]]), likes(np.array([[1, 1], [0, 1], [0, 0]]))
    assert aggregate(items, liked, "mean").tolist() == [[2, 1], [3, 2], [0, 0]]
    assert torch.allclose(aggregate(items, liked, "root")[0], torch.tensor([4.0, 2.0]) / 2**0.5)


def test_the_way_that_ranks_best_for_users_held_out_is_taken() -> None:
    # The users lie where the mean of their items, turned by a quarter, is: the plain mean ranks worse than the map.
    generator = np.random.default_rng(1)
    angle = generator.random(40) * 2 * np.pi
    items = torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1), dtype=torch.float32)
    tastes = generator.integers(0, 8, 200)
    near = np.cos(angle[None] - (tastes * np.pi / 4)[:, None]) > 0.75
    chosen = near & (generator.random(near.shape) < 0.6)
    train = likes(chosen & (generator.random(near.shape) < 0.7))
    valid = likes(chosen & (generator.random(near.shape) < 0.3))
    users = aggregate(items, train, "mean") @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    turned = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    folding, quality = choose(Embeddings(users, items @ turned), train, valid, train)
    assert quality.users >= 20
    assert quality.tried is not None
    assert quality.folded == max(quality.tried.values())
    assert quality.trained is not None
    # The users are the mean of the turned items: nothing is lost by folding in.
    assert quality.folded == pytest.approx(quality.trained, abs=0.02)
    assert torch.allclose(
        folding.vectors(train, nothing(200, 40))[train.lengths > 0], users[train.lengths > 0], atol=0.05
    )
    again, _ = choose(Embeddings(users, items @ turned), train, valid, train)
    assert torch.equal(again.weight, folding.weight)


def test_few_users_are_folded_in_without_being_measured() -> None:
    bundle = trained.bundle("bpr")
    assert bundle.facts.fold_in is not None
    assert bundle.facts.fold_in.quality is not None
    assert bundle.facts.fold_in.quality["folded"] is None


def test_ratings_count_as_they_did_in_training() -> None:
    items = np.array([5, 3, 8, 1])
    liked, disliked = by_rating(items, [5, 3, 2, 4], 4.0, 2.0)
    assert (liked.tolist(), disliked.tolist()) == ([5, 1], [8])
    liked, disliked = by_rating(items, [5, 3, 2, 4], "all", None)
    assert (liked.tolist(), disliked.tolist()) == ([5, 3, 8, 1], [])
    assert by_rating(items, None, 4.0, 2.0)[0].tolist() == items.tolist()
    with pytest.raises(DataError, match="4 items but 1 ratings"):
        by_rating(items, [5], 4.0, None)
    with pytest.raises(DataError, match="not finite"):
        by_rating(items, [5, float("nan"), 1, 1], 4.0, None)


def test_mistakes_in_a_list_of_items_are_said() -> None:
    bundle = trained.bundle("bpr")
    with pytest.raises(DataError, match="unknown item 'i99'"):
        bundle.fold_in(["i99"])
    with pytest.raises(DataError, match="named twice"):
        bundle.fold_in(["i1", "i1"])
