"""Knowledge as features, from a catalogue's triples to rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from palate.core.errors import ArtefactError, ConfigError, DataError
from palate.encode.base import build_encoder
from palate.encode.knowledge import KnowledgeConfig, KnowledgeEncoder, encode_knowledge, item_entities
from palate.encode.store import FeatureStore
from palate.ingest.catalogue import Catalogue

ITEMS = 40
SMALL = KnowledgeConfig(threshold=2, hidden=(16,), dim=4, epochs=40, batch_size=8, learning_rate=1e-2)


def world(items: int = ITEMS) -> Catalogue:
    """Items of two kinds with six of eight entities each of their kind; item 0 without an entity, item 1 all alone."""
    generator = np.random.default_rng(0)
    triples: list[tuple[str, str, str]] = []
    for item in range(2, items):
        chosen = generator.choice(8, 6, replace=False)
        triples += [(f"film{item}", "about", f"kind{item % 2} thing{entity}") for entity in chosen]
    triples += [(tail, "of", head) for head, _, tail in triples]
    triples.append(("film1", "about", "nothing else"))
    ids = [f"i{item}" for item in range(items)]
    return Catalogue.of(
        pl.DataFrame({"user_id": ["u"] * items, "item_id": ids}),
        pl.DataFrame({"item_id": ids}),
        pl.DataFrame(triples, schema=["head", "relation", "tail"], orient="row"),
        pl.DataFrame({"item_id": ids[1:], "entity": [f"film{item}" for item in range(1, items)]}),
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_from_triples_to_features_that_know_the_kinds(tmp_path: Path) -> None:
    catalogue = world().save(tmp_path / "catalogue")
    features, summary = encode_knowledge(catalogue, SMALL, quiet=True)
    assert features.name == "knowledge"
    assert features.matrix.shape == (ITEMS, 4)
    assert np.flatnonzero(~features.present).tolist() == [0, 1]
    rows = features.matrix[2:] - features.matrix[2:].mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    same = np.arange(2, ITEMS)[:, None] % 2 == np.arange(2, ITEMS)[None, :] % 2
    assert (rows @ rows.T)[same].mean() > (rows @ rows.T)[~same].mean() + 0.5
    # Of eight entities, six and six share at least four: every pair of one kind is an edge.
    edges = 2 * (19 * 18 // 2)
    assert (summary.encoded, summary.cached, summary.absent, summary.failed) == (38, 0, 2, ())
    assert f"S_m = 2 entities: {edges:,} edges, mean degree 17.5 over the 39 items with knowledge" in str(summary)
    assert "1 share too little" in str(summary)
    assert "39 of 40 items have an entity" in str(summary)
    assert "pairs of inverse relations: 1;" in str(summary)
    FeatureStore(tmp_path / "catalogue").save(features)
    assert FeatureStore(tmp_path / "catalogue").load("knowledge", features.ids).fingerprint == features.fingerprint


def test_a_second_call_learns_nothing_again_and_gives_the_same(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = encode_knowledge(world(), SMALL, quiet=True)
    assert not list(cache.rglob("training"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("this was learnt before")

    monkeypatch.setattr("palate.encode.sdne.fit_sdne", refuse)
    second, summary = encode_knowledge(world(), SMALL, quiet=True)
    assert (summary.encoded, summary.cached) == (0, 38)
    assert second.fingerprint == first.fingerprint
    # Where the vectors are made is no part of what they are.
    encode_knowledge(world(), SMALL.override({"device": "cpu"}), quiet=True)
    with pytest.raises(AssertionError, match="learnt before"):
        encode_knowledge(world(), SMALL.override({"seed": 1}), quiet=True)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_cache_is_made_again_with_a_note(cache: Path, damage: bytes | None) -> None:
    first, _ = encode_knowledge(world(), SMALL, quiet=True)
    (path,) = cache.rglob("vectors.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    second, summary = encode_knowledge(world(), SMALL, quiet=True)
    assert summary.encoded == 38
    assert any("damaged cache file was removed" in note for note in summary.notes)
    assert second.fingerprint == first.fingerprint


def test_identity_tells_settings_and_graph_apart() -> None:
    short = SMALL.override({"epochs": 1})

    def identity(catalogue: Catalogue, config: KnowledgeConfig) -> str:
        return KnowledgeEncoder(config, quiet=True).fit(item_entities(catalogue)).identity

    base = identity(world(), short)
    assert "shared>2 " in base
    changes = {
        "threshold": 3, "dim": 5, "hidden": [8], "beta": 2.0, "alpha": 0.5, "nu": 0.5, "activation": "tanh",
        "epochs": 2, "learning_rate": 0.1, "batch_size": 9, "seed": 7,
    }  # fmt: skip
    others = [identity(world(), short.override({key: value})) for key, value in changes.items()]
    others.append(identity(world(ITEMS - 1), short))
    assert len({base, *others}) == 1 + len(others)
    # An S_m that was chosen and the same one given are one graph, and one encoder.
    chosen = KnowledgeEncoder(short.override({"threshold": None, "mean_degree": 17.5}), quiet=True)
    fitted = chosen.fit(item_entities(world()))
    assert fitted.identity == identity(world(), short.override({"threshold": fitted.fitted.threshold}))


def test_a_chosen_threshold_comes_near_the_mean_degree() -> None:
    config = SMALL.override({"threshold": None, "mean_degree": 15.0, "epochs": 1})
    fitted = KnowledgeEncoder(config, quiet=True).fit(item_entities(world())).fitted
    degrees = {
        s: KnowledgeEncoder(config.override({"threshold": s}), quiet=True).fit(item_entities(world())).fitted.graph.size
        / 39
        for s in range(6)
    }
    assert abs(degrees[fitted.threshold] - 15) == min(abs(degree - 15) for degree in degrees.values())


def test_what_is_missing_is_said() -> None:
    full = world()
    with pytest.raises(DataError, match="has no knowledge"):
        encode_knowledge(Catalogue.of(full.interactions, full.items), SMALL, quiet=True)
    strangers = pl.DataFrame({"item_id": ["i3"], "entity": ["somebody"]})
    with pytest.raises(DataError, match="no item's entity occurs"):
        encode_knowledge(Catalogue.of(full.interactions, full.items, full.knowledge, strangers), SMALL, quiet=True)
    with pytest.raises(DataError, match="share more than 99 entities") as caught:
        encode_knowledge(full, SMALL.override({"threshold": 99}), quiet=True)
    assert "lower threshold" in caught.value.do
    with pytest.raises(ConfigError, match="no item graph yet"):
        _ = KnowledgeEncoder(SMALL).identity
    with pytest.raises(ConfigError, match="did you mean 'alpha'"):
        build_encoder("sdne", {"alfa": 1})


def test_a_cache_that_cannot_be_written_is_an_error_that_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(ArtefactError, match="cannot be written"):
        KnowledgeEncoder(SMALL, quiet=True, cache=blocked).fit(item_entities(world()))


def test_importing_the_encoder_loads_no_torch() -> None:
    program = "import sys; import palate.encode.knowledge; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
