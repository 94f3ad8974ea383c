"""Pre-training: its terms, that it learns, that it is a function of its seed, and that it goes on where it was."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from encode.joint.small import gradient_sizes, small_config, small_content, small_warm_start, small_world
from palate.core.artefact import tensor_digest
from palate.core.errors import ArtefactError, DataError, Interrupted
from palate.core.seeds import Draws
from palate.encode.joint import pretraining
from palate.encode.joint.encoder import JointEncoder
from palate.encode.joint.model import JointNetwork
from palate.encode.joint.objective import joint_loss
from palate.encode.joint.pretraining import ItemBatches, pretrain_joint, split_pairs, train_joint
from palate.encode.joint.probes import masked_losses
from palate.encode.joint.warm import WarmStart


def network_for(**changes: Any) -> JointNetwork:
    config = small_config(**changes)
    network = JointNetwork(config, len(small_content()[1]), 0)
    network.mean, network.deviation = torch.full((3,), 128.0), torch.full((3,), 60.0)
    network.centres = torch.randn(config.codes, config.patch_width, generator=torch.Generator().manual_seed(0))
    return network


def test_the_terms_are_those_of_the_paper_and_the_contrast_is_asked_for() -> None:
    batch = small_content()[0].take(torch.arange(8))
    plain = joint_loss(network_for(), batch, Draws(0))
    assert set(plain) == {"mim", "mlm"}
    half, whole = (joint_loss(network_for(contrastive_weight=w), batch, Draws(0)) for w in (0.5, 1.0))
    assert set(whole) == {"mim", "mlm", "contrastive"}
    torch.testing.assert_close(2 * half["contrastive"], whole["contrastive"])
    torch.testing.assert_close(whole["mim"], plain["mim"])


def test_one_pass_for_both_terms_is_each_term_alone() -> None:
    network = network_for(alone_share=0.0)
    batch = small_content()[0].take(torch.arange(8))
    terms = joint_loss(network, batch, Draws(3, 7))
    for hidden, kept, other in (("text", "mim", "mlm"), ("picture", "mlm", "mim")):
        apart = joint_loss(network, replace(batch, **{hidden: torch.zeros(8, dtype=torch.bool)}), Draws(3, 7))
        assert float(apart[other].detach()) == 0.0
        # Without its partner the term has the same masks and another value.
        assert float(apart[kept].detach()) != pytest.approx(float(terms[kept].detach()), abs=1e-6)
        assert float(apart[kept].detach()) == pytest.approx(float(terms[kept].detach()), rel=0.5)


def test_items_without_partners_are_learnt_from_like_hidden_ones() -> None:
    content = small_content()[0].take(torch.arange(8))
    hidden = joint_loss(network_for(alone_share=1.0), content, Draws(0))
    network = network_for(alone_share=0.0)
    for name, term in (("text", "mim"), ("picture", "mlm")):
        apart = joint_loss(network, replace(content, **{name: torch.zeros(8, dtype=torch.bool)}), Draws(0))
        torch.testing.assert_close(apart[term], hidden[term], rtol=1e-5, atol=1e-6)


def test_every_parameter_but_nothing_else_learns() -> None:
    network = network_for(alone_share=0.5)
    batch = small_content()[0].take(torch.arange(24))
    torch.stack(list(joint_loss(network, batch, Draws(0)).values())).sum().backward()
    sizes = gradient_sizes(network)
    assert [name for name, size in sizes.items() if size == 0] == []


def test_an_epoch_meets_every_item_once_in_an_order_of_its_own() -> None:
    content = small_content()[0]
    rows = torch.arange(3, 40)
    batches = ItemBatches(content, rows, 8, seed=1)
    first, again, second = ([batch.items for batch in batches.epoch(number)] for number in (1, 1, 2))
    assert len(first) == batches.steps == 5
    assert torch.equal(torch.cat(first).sort().values, rows)
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(second))


def test_held_out_items_are_pairs_that_are_not_learnt_from() -> None:
    content = small_content()[0]
    content = replace(content, picture=torch.arange(40) >= 5, text=torch.arange(40) < 38)
    learnt, held = split_pairs(content, 0.2, seed=0)
    assert len(held) == round(0.2 * 33)
    assert bool(((held >= 5) & (held < 38)).all())
    assert torch.equal(torch.cat([learnt, held]).sort().values, torch.arange(40))


def test_training_overfits_a_small_world() -> None:
    content, vocabulary = small_content()
    content = content.take(torch.arange(12))
    config = small_config(epochs=120, held_out=0.0, learning_rate=3e-3, alone_share=0.1, width=32, batch_size=12)
    network, outcome, held = train_joint(content, vocabulary, config, 0, quiet=True)
    assert len(held) == 0
    first, last = outcome.history[0]["terms"], outcome.history[-1]["terms"]
    assert last["mlm"] < 0.3 * first["mlm"]
    assert last["mim"] < 0.3 * first["mim"]
    losses = masked_losses(network, content, torch.arange(12), 5)
    assert losses.mlm < 0.3 * first["mlm"]


def test_the_same_seed_gives_the_same_bits_and_another_does_not() -> None:
    content, vocabulary = small_content()
    digests = [
        tensor_digest(train_joint(content, vocabulary, small_config(), seed, quiet=True)[0].state_dict())
        for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("warm_start", ["none", "both"])
def test_a_training_that_was_stopped_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm_start: str
) -> None:
    content, vocabulary = small_content()
    config = small_config(epochs=3, warm_start=warm_start)
    warm = small_warm_start() if warm_start == "both" else WarmStart()
    whole = train_joint(content, vocabulary, config, 1, quiet=True, warm=warm)
    plain, calls = joint_loss, [0]

    def stopped(network: JointNetwork, batch: Any, draws: Draws) -> Any:
        calls[0] += 1
        if calls[0] in (4, 9):
            os.kill(os.getpid(), signal.SIGINT)
        return plain(network, batch, draws)

    monkeypatch.setattr(pretraining, "joint_loss", stopped)
    for _ in range(2):
        with pytest.raises(Interrupted, match="nothing is lost"):
            train_joint(content, vocabulary, config, 1, folder=tmp_path, quiet=True, warm=warm)
    resumed = train_joint(content, vocabulary, config, 1, folder=tmp_path, quiet=True, warm=warm)
    assert tensor_digest(resumed[0].state_dict()) == tensor_digest(whole[0].state_dict())
    for one, other in zip(resumed[1].history, whole[1].history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    with pytest.raises(ArtefactError, match="other settings"):
        train_joint(content, vocabulary, config, 1, folder=tmp_path, quiet=True, warm=replace(warm, identity="other"))


def test_pretraining_from_a_catalogue_reports_and_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    world = small_world(tmp_path / "world", missing={"image": 0.25, "text": 0.25})
    broken = sorted((world / "media").rglob("*.png"))[:2]
    broken[0].write_bytes(b"no picture")
    broken[1].unlink()
    report = pretrain_joint(world, tmp_path / "encoder", small_config(held_out=0.3), 0, True)
    assert {item for item, _ in report.failed} == {path.stem for path in broken}
    assert report.losses is not None
    assert report.partners is not None
    assert report.partners.pairs == 4
    assert f"among {report.partners.pairs}" in str(report)
    assert "failed: item" in str(report)
    assert JointEncoder.load(tmp_path / "encoder").fingerprint == report.fingerprint
    # What a finished training no longer needs is gone.
    assert not any((tmp_path / "cache" / "joint").iterdir())
    with pytest.raises(ArtefactError, match="exists already"):
        pretrain_joint(world, tmp_path / "encoder", small_config(), 0, True)
    other = pretrain_joint(world, tmp_path / "encoder", small_config(epochs=1), 1, True, replace=True)
    assert JointEncoder.load(tmp_path / "encoder").fingerprint == other.fingerprint != report.fingerprint


@pytest.mark.parametrize("lacking", ["image", "text"])
def test_a_catalogue_with_one_modality_alone_makes_an_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    world = small_world(tmp_path / "world", missing={lacking: 1.0})
    report = pretrain_joint(world, tmp_path / "encoder", small_config(contrastive_weight=0.1), 0, True)
    assert (report.items, report.pairs, report.held_out) == (40, 0, 0)
    assert report.losses is report.partners is None
    terms = report.outcome.history[-1]["terms"]
    assert terms["mim" if lacking == "image" else "mlm"] == terms["contrastive"] == 0.0
    assert terms["mlm" if lacking == "image" else "mim"] > 0.0


def test_a_folder_that_may_not_be_replaced_is_refused_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a joint-encoder"):
        pretrain_joint(tmp_path / "nothing", tmp_path, small_config(), 0, True, replace=True)


def test_a_large_catalogue_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATE_CACHE", str(tmp_path / "cache"))
    world = small_world(tmp_path / "world")
    report = pretrain_joint(world, tmp_path / "encoder", small_config(most_items=20, epochs=1), 0, True)
    assert report.items + report.held_out == 20


def test_nothing_to_learn_from_is_said() -> None:
    content, vocabulary = small_content()
    nothing = torch.zeros(40, dtype=torch.bool)
    with pytest.raises(DataError, match="no item is left"):
        train_joint(replace(content, picture=nothing, text=nothing), vocabulary, small_config(), 0, quiet=True)
