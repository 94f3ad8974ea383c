"""What pre-training minimises: masked patches and masked words, each restored with the other modality in view.

Takes the network, a batch of items and a step's draws; gives the named terms of L_ICA.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.seeds import Draws
from palate.encode.joint.content import ContentBatch
from palate.encode.joint.masks import alone, block_mask, word_mask
from palate.encode.joint.model import JointNetwork, Sight


def joint_loss(network: JointNetwork, batch: ContentBatch, draws: Draws) -> dict[str, Tensor]:
    """L_ICA = L_MIM + L_MLM (AlignRec, after BEiT-3's section 2.2), and the contrastive term where it has a weight.

        L_MIM = mean over masked patches of -log p(code | other patches, words)
        L_MLM = mean over masked words   of -log p(word | other words, patches)

    An item's words are whole where its patches are masked, and the reverse: two passes, as one batch. Of a share of
    pairs (`alone_share`) the other modality is hidden, so that the network knows how to do without.

    Args:
        network: what is trained.
        batch: B items.
        draws: of the step.
    """
    config = network.config
    patches = network.patches_of(batch.pixels)
    seeing = torch.nonzero(batch.picture).flatten()
    reading = torch.nonzero(batch.text).flatten()
    blocks = block_mask(draws, batch.items, config.grid, config.patch_share) & batch.picture.unsqueeze(1)
    gaps = word_mask(draws, batch.items, batch.words, config.word_share) & batch.text.unsqueeze(1)
    text = batch.text & ~alone(draws, "picture", batch.items, config.alone_share)
    picture = batch.picture & ~alone(draws, "text", batch.items, config.alone_share)
    rows = torch.cat([seeing, reading])
    first, second = len(seeing), len(reading)
    yes = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    no = torch.zeros_like(yes)
    sight = Sight(
        patches=patches.index_select(0, rows),
        words=batch.words.index_select(0, rows),
        picture=torch.cat([yes[:first], picture.index_select(0, reading)]),
        text=torch.cat([text.index_select(0, seeing), yes[:second]]),
        masked_patches=torch.cat([blocks.index_select(0, seeing), no[:second, None].expand(-1, config.patches)]),
        masked_words=torch.cat([no[:first, None].expand(-1, gaps.shape[1]), gaps.index_select(0, reading)]),
    )
    states = network(sight)
    codes = network.codes_of(patches.index_select(0, seeing))
    terms = {
        "mim": _mean(network.patch_losses(states[:first], blocks.index_select(0, seeing), codes), states),
        "mlm": _mean(
            network.word_losses(states[first:], gaps.index_select(0, reading), batch.words.index_select(0, reading)),
            states,
        ),
    }
    if config.contrastive_weight > 0:
        terms["contrastive"] = config.contrastive_weight * _contrast(network, batch, patches)
    return terms


def _mean(losses: Tensor, states: Tensor) -> Tensor:
    # A batch may have no picture or no words; the loop wants the same terms at every step.
    return losses.mean() if len(losses) else 0.0 * states.sum()


def _contrast(network: JointNetwork, batch: ContentBatch, patches: Tensor) -> Tensor:
    """Symmetric InfoNCE between [CLS] of the picture alone and of the text alone, over the batch's pairs."""
    pairs = batch.pairs
    chosen, words = patches.index_select(0, pairs), batch.words.index_select(0, pairs)
    yes = torch.ones(len(pairs), dtype=torch.bool, device=pairs.device)
    seen = F.normalize(network.summary(Sight(chosen, words, yes, ~yes)), dim=1)
    read = F.normalize(network.summary(Sight(chosen, words, ~yes, yes)), dim=1)
    if len(pairs) < 2:
        return 0.0 * (seen.sum() + read.sum())
    scores = seen @ read.T / network.config.contrastive_temperature
    right = torch.arange(len(pairs), device=pairs.device)
    return 0.5 * (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right))
