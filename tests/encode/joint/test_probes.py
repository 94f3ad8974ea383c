"""The probes: they agree with the plain formula, and they see planted knowledge and its absence."""

from __future__ import annotations

from typing import cast

import pytest
import torch

from encode.joint.small import small_config, small_content
from palate.core.seeds import Draws, derive_seed
from palate.encode.joint.masks import word_mask
from palate.encode.joint.model import JointNetwork, MultiwayLayer, Sight
from palate.encode.joint.pretraining import train_joint
from palate.encode.joint.probes import masked_losses, partner_choice, word_scores


@pytest.fixture
def network() -> JointNetwork:
    """Random weights."""
    return JointNetwork(small_config(), len(small_content()[1]), 0).eval()


def test_scores_are_sums_over_all_known_words_each_masked_once(network: JointNetwork) -> None:
    content = small_content()[0]
    rows = torch.tensor([4, 9, 17])
    scores, without = word_scores(network, content, rows, 0, quiet=True)
    draws = Draws(derive_seed(0, "joint", "partners"))
    for text in range(3):
        batch = content.take(rows[text : text + 1])
        half = word_mask(draws, batch.items, batch.words, 0.5)
        rest = (batch.words > 2) & ~half
        for picture in (0, 1, 2, None):
            shown = torch.tensor([picture is not None])
            patches = network.patches_of(content.pixels[rows[picture or 0]].unsqueeze(0))
            total = 0.0
            for mask in (half, rest):
                sight = Sight(patches, batch.words, shown, torch.tensor([True]), masked_words=mask)
                with torch.inference_mode():
                    total -= float(network.word_losses(network(sight), mask, batch.words).sum())
            found = without[text] if picture is None else scores[picture, text]
            assert float(found) == pytest.approx(total, rel=1e-5)


def test_a_network_that_ignores_pictures_chooses_no_partner_and_loses_nothing_by_hiding(network: JointNetwork) -> None:
    content = small_content()[0]
    rows = torch.arange(6)
    with torch.no_grad():
        for layer in network.layers:
            layer.get_submodule("merge").get_parameter("weight").zero_()
    partners = partner_choice(network, content, rows, 0, quiet=True)
    assert partners.picture_of_text == 0.0
    # Without attention a masked word sees its place alone, so that the same weights must give the same loss but for
    # the expert, which is another one for pairs.
    for layer in network.layers:
        cast(MultiwayLayer, layer).both = None
    losses = masked_losses(network, content, rows, 0)
    assert losses.mlm == pytest.approx(losses.mlm_hidden, rel=1e-6)
    assert losses.mim == pytest.approx(losses.mim_hidden, rel=1e-6)


def test_what_was_learnt_by_heart_is_seen() -> None:
    content, vocabulary = small_content()
    content = content.take(torch.arange(8))
    config = small_config(epochs=150, held_out=0.0, learning_rate=3e-3, width=32, batch_size=8, word_share=0.8)
    trained, _, _ = train_joint(content, vocabulary, config, 0, quiet=True)
    rows = torch.arange(8)
    losses = masked_losses(trained, content, rows, 1)
    assert losses.mlm < losses.mlm_hidden
    partners = partner_choice(trained, content, rows, 0, quiet=True)
    assert partners.picture_of_text >= 0.5
    assert masked_losses(trained, content, rows, 1) == losses
