"""New items: what a model's own way or a regression makes of their content, against what it must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import worlds
from palate.core.errors import ConfigError, DataError
from palate.encode.features import Features
from palate.experiment import fit, load
from palate.models import MODELS, Embeddings
from palate.models.classical.contentknn import ContentKNN
from palate.models.crmman import CRMMAN
from palate.models.freedom import FREEDOM
from palate.models.mmgcn import MMGCN
from palate.models.vbpr import VBPR
from palate.recommend.bundle import Bundle
from palate.recommend.colditem import Modality, Regression, aligned, with_cold_items
from palate.recommend.contentpaths import Group, NeighbourPath
from palate.recommend.forms import Vectors
from recommend import trained

VECTORS = [name for name in trained.NAMES if trained.bundle(name).facts.form == "vectors"]
OWN = ["alignrec", "crmman", "freedom", "mmgcn", "vbpr"]
BLIND = ["ease", "itemknn", "popularity", "rp3beta", "indexorder"]
CAT = "cold-items"


def new(*items: str, missing: tuple[str, ...] = ()) -> dict[str, Features]:
    """Content of new items."""
    return {
        "image": worlds.features(items, "image", width=4),
        "text": worlds.features(items, "text", missing=missing),
    }


def placed(bundle: Bundle, content: dict[str, Features]) -> Tensor:
    found = bundle.place(content).vectors
    assert found is not None
    return found


@pytest.mark.parametrize("name", [*VECTORS, "contentknn"])
@pytest.mark.parametrize("how", ["auto", "content"])
def test_new_items_are_placed_finitely_one_by_one_or_together(name: str, how: str, tmp_path: Path) -> None:
    if how == "content" and name not in [*OWN, "contentknn"]:
        with pytest.raises(ConfigError, match="no way of its own"):
            trained.bundle(name, new_items=how)
        return
    bundle = trained.bundle(name, new_items=how)
    together = bundle.place(new("n1", "n2"))
    made = together.vectors if together.vectors is not None else together.weights
    assert made is not None
    assert torch.isfinite(made).all()
    for row, item in enumerate(("n1", "n2")):
        alone = bundle.place(new(item))
        one = alone.vectors if alone.vectors is not None else alone.weights
        assert one is not None
        assert torch.allclose(one[0], made[row], atol=1e-5)
    scores = bundle.scores_of_placed(together, trained.everyone())
    assert scores.shape == (40, 2)
    assert np.isfinite(scores).all()
    bundle.save(tmp_path / "bundle")
    again = Bundle.load(tmp_path / "bundle").place(new("n1", "n2"))
    kept = again.vectors if again.vectors is not None else again.weights
    assert kept is not None
    assert torch.allclose(kept, made, atol=1e-6)


@pytest.mark.parametrize("name", [*VECTORS, "contentknn"])
def test_an_item_may_lack_modalities(name: str) -> None:
    bundle = trained.bundle(name)
    with_both, text_alone = new("n1"), {"text": new("n1")["text"]}
    absent = {
        **with_both,
        "image": Features("image", np.zeros((1, 4), np.float32), np.zeros(1, bool), "random", ("n1",)),
    }
    one, other = bundle.place(text_alone), bundle.place(absent)
    if one.vectors is not None and other.vectors is not None:
        assert torch.equal(one.vectors, other.vectors)
        assert not torch.allclose(one.vectors, placed(bundle, with_both))
    else:
        assert one.weights is not None
        assert other.weights is not None
        assert torch.equal(one.weights, other.weights)


@pytest.mark.parametrize("name", BLIND)
def test_models_that_know_items_by_interactions_alone_say_so(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot place new items"):
        trained.bundle(name).place(new("n1"))


@pytest.mark.parametrize("name", ["mmgcn", "vbpr", "crmman"])
def test_the_models_own_way_gives_an_item_nobody_met_the_vector_that_the_model_gives_it(name: str) -> None:
    """An item without train interactions, its own rows of the id tables set to the mean of the others'."""
    model, data = trained.model(name, CAT), trained.data(CAT)
    lengths = data.positives["train"].transpose().lengths
    cold, warm = np.flatnonzero(lengths == 0), np.flatnonzero(lengths)
    assert isinstance(model, MMGCN | VBPR | CRMMAN)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    changed = {key: value.clone() for key, value in state.items()}
    for key in {"mmgcn": ["item_id"], "vbpr": ["item_id", "bias"], "crmman": []}[name]:
        changed[key][torch.from_numpy(cold)] = state[key][torch.from_numpy(warm)].mean(0)
    model.load_state_dict(changed)
    expected = model.embed().item[torch.from_numpy(cold)]
    model.load_state_dict(state)
    path = trained.bundle(name, CAT, new_items="content").content
    assert path is not None
    found = path.place({key: value.take(cold) for key, value in data.features.items()}).vectors
    assert found is not None
    assert torch.allclose(found, expected, atol=1e-5)


def test_freedom_hands_the_ids_of_similar_items_on() -> None:
    model, data = trained.model("freedom"), trained.data()
    assert isinstance(model, FREEDOM)
    found = placed(trained.bundle("freedom", new_items="content"), new("n1"))[0]
    met = data.positives["train"].transpose().lengths > 0
    shares: list[Tensor] = []
    for name, value in data.features.items():
        row = new("n1")[name].matrix[0]
        cosine = value.matrix @ row / np.maximum(np.linalg.norm(value.matrix, axis=1) * np.linalg.norm(row), 1e-9)
        # A new item is its own neighbour, as every item is, and has no id to hand to itself.
        best = np.argsort(np.where(met & value.present, -cosine, np.inf))[: model.config.neighbours - 1]
        shares.append(model.item_id[torch.from_numpy(best)].sum(0) / model.config.neighbours)
    assert torch.allclose(found, torch.stack(shares).mean(0), atol=1e-6)


def test_contentknn_weighs_a_copy_of_an_item_as_that_item_is_weighed() -> None:
    """A new item with the content of a known one has that item's neighbours, and the item itself beside them."""
    model, data, bundle = trained.model("contentknn"), trained.data(), trained.bundle("contentknn")
    assert isinstance(model, ContentKNN)
    known = data.items.row("i7")
    copy = {
        name: Features(name, value.matrix[[known]], value.present[[known]], "random", ("n",))
        for name, value in data.features.items()
    }
    found = bundle.place(copy).weights
    assert found is not None
    weights = found[0].numpy()
    assert weights[known] == pytest.approx(1.0, abs=1e-5)
    dense = np.zeros((25, 25))
    dense[np.repeat(np.arange(25), np.diff(model.pointer.numpy())), model.columns.numpy()[: int(model.pointer[-1])]] = (
        model.weights.numpy()[: int(model.pointer[-1])]
    )
    met = data.positives["train"].transpose().lengths > 0
    for item in np.flatnonzero(weights):
        assert met[item]
        if item != known:
            assert weights[item] == pytest.approx(dense[item, known], abs=1e-5)
    assert (weights > 0).sum() == model.neighbours


def test_alignrecs_weights_are_normalised_on_both_sides() -> None:
    known = {"text": Features("text", np.eye(3, dtype=np.float32), np.ones(3, bool), "e", ("a", "b", "c"))}
    scale = torch.tensor([0.5, 1.0, 0.0])
    path = NeighbourPath("normalised", (Group(("text",), 2),), known, None, scale)
    row = np.array([[0.6, 0.8, 5.0]], np.float32) / np.float32(np.sqrt(26.0))
    found = path.place({"text": Features("text", row, np.ones(1, bool), "e", ("n",))}).weights
    assert found is not None
    cosine = row[0]
    # The third is nobody's neighbour, however near.
    root = (1 + cosine[0] + cosine[1]) ** -0.5
    assert np.allclose(found[0], [0.5 * cosine[0] * root, cosine[1] * root, 0.0], atol=1e-6)


def test_an_item_without_anything_is_placed_nowhere_or_in_the_middle() -> None:
    nothing = {
        name: Features(name, np.zeros_like(value.matrix), np.zeros(1, bool), "random", ("n1",))
        for name, value in new("n1").items()
    }
    assert placed(trained.bundle("freedom", new_items="content"), nothing).abs().max() == 0
    bundle = trained.bundle("bpr")
    lengths = trained.data().positives["train"].transpose().lengths
    assert isinstance(bundle.content, Regression)
    middle = bundle.item_vectors[lengths > 0].mean(0)  # pyright: ignore
    # Absent content counts as the mean of those that have it.
    assert np.allclose(placed(bundle, nothing)[0].numpy(), middle, atol=0.05)


def test_a_regression_finds_items_that_are_linear_in_their_content() -> None:
    generator = np.random.default_rng(3)
    rows = generator.normal(size=(80, 6)).astype(np.float32)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    vectors = torch.tensor(unit @ generator.normal(size=(6, 4)) + 1.0, dtype=torch.float32)
    ids = tuple(f"i{row}" for row in range(80))
    features = {"text": Features("text", rows, np.ones(80, bool), "e", ids)}
    warm, cold = np.arange(60), np.arange(60, 80)
    path = Regression.fit(vectors, features, warm)
    assert path.explained > 0.99
    found = with_cold_items(Embeddings(vectors[:2], vectors * 0 - 7), path, features, cold)
    assert torch.allclose(found.item[60:], vectors[60:], atol=1e-2)
    assert (found.item[:60] == -7).all()
    shuffled = Features("text", rows[generator.permutation(80)], np.ones(80, bool), "e", ids)
    assert Regression.fit(vectors, {"text": shuffled}, warm).explained < 0.3


def test_cold_items_of_a_model_without_vectors_have_no_place() -> None:
    path, data = trained.bundle("contentknn").content, trained.data()
    assert path is not None
    with pytest.raises(DataError, match="no vectors"):
        with_cold_items(Embeddings(torch.ones(2, 2), torch.ones(25, 2)), path, data.features, np.array([1]))


WANTED = {"image": Modality(4, "random"), "text": Modality(6, "random")}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "needs some content"),
        ({"imag": worlds.features(["n"], "imag", width=4)}, "did you mean 'image'"),
        ({"text": worlds.features(["n"], "text", width=5)}, "rows of 5 numbers, wanted are 6"),
        ({"text": Features("text", np.ones((1, 6), np.float32), np.ones(1, bool), "other", ("n",))}, "another encoder"),
        ({**new("n"), "image": worlds.features(["m"], "image", width=4)}, "different items"),
    ],
)
def test_content_that_does_not_fit_is_refused(content: dict[str, Features], words: str) -> None:
    with pytest.raises(DataError) as refused:
        aligned(content, WANTED)
    assert words in str(refused.value)


def test_every_model_with_a_way_from_content_is_tested_here() -> None:
    assert {name for name in trained.NAMES if MODELS[name].modal} == {*OWN, "contentknn", "bm3", "lgmrec"}


def test_crmman_still_folds_in_exactly_what_training_gave(tmp_path: Path) -> None:
    """Items that were only rated low are no positives, but dislikes that it learnt from: they stay where they are."""
    rows = worlds.interactions(users=60, items=40, least=2, most=8, seed=1)
    low = pl.col("item_id").is_in([f"i{number}" for number in range(6)])
    rows = rows.with_columns(rating=pl.when(low).then(1.0).otherwise(pl.col("rating")))
    folder = worlds.stored(tmp_path / "catalogue", worlds.catalogue(rows, items=43), missing=())
    settings = {"dim": 8, "epochs": 1, "batch_size": 64}
    run = fit("crmman", load(folder, split="user-time"), settings=settings, out=tmp_path / "run", quiet=True)
    assert run.data.dislikes is not None
    unliked = run.data.positives["train"].transpose().lengths == 0
    disliked = run.data.dislikes.transpose().lengths > 0
    assert (unliked & disliked).any()
    made = run.bundle()
    assert made.facts.placed == int((unliked & ~disliked).sum()) >= 3
    vectors = made.fold_rows(made.liked, made.disliked).vectors
    assert vectors is not None
    assert isinstance(made.form, Vectors)
    assert torch.allclose(vectors, made.form.user, atol=1e-6)
