"""What held-out pairs say about a joint encoder: does one modality help to restore the other, and does it know pairs?

Takes a network and content that it was not trained on; gives masked losses with the other modality in view and hidden,
and how often the right partner is the one that restores masked words best.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from palate.core.progress import progress
from palate.core.seeds import Draws, derive_seed
from palate.encode.joint.content import ContentBatch
from palate.encode.joint.masks import block_mask, word_mask
from palate.encode.joint.model import JointNetwork, Sight

_AT_ONCE = 64


@dataclass(frozen=True)
class MaskedLosses:
    """Masked losses on pairs, in nats: the mean of -log p over all masked patches (mim) or words (mlm).

    Attributes:
        mim, mlm: with the other modality in view.
        mim_hidden, mlm_hidden: with the same masks and the other modality hidden.
    """

    mim: float
    mim_hidden: float
    mlm: float
    mlm_hidden: float

    def as_dict(self) -> dict[str, float]:
        """The four by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"masked words: loss {self.mlm:.4f} with the picture in view, {self.mlm_hidden:.4f} with it hidden\n"
            f"masked patches: loss {self.mim:.4f} with the words in view, {self.mim_hidden:.4f} with them hidden"
        )


@dataclass(frozen=True)
class Partners:
    """How often the right partner was chosen.

    Attributes:
        pairs: how many pairs, and so candidates; chance is 1 / pairs.
        picture_of_text: share of texts whose masked words their own picture restores best.
        text_of_picture: share of pictures that help their own text most, as against no picture at all.
    """

    pairs: int
    picture_of_text: float
    text_of_picture: float

    def __str__(self) -> str:
        return (
            f"right partner among {self.pairs}: picture of a text {self.picture_of_text:.3f}, "
            f"text of a picture {self.text_of_picture:.3f} (chance {1 / self.pairs:.3f})"
        )


@torch.inference_mode()
def masked_losses(network: JointNetwork, content: ContentBatch, rows: Tensor, seed: int) -> MaskedLosses:
    """Masked losses on the pairs `rows` (int64, at least one); the same seed draws the same masks."""
    config = network.config
    draws = Draws(derive_seed(seed, "joint", "probe"))
    sums: dict[str, float] = dict.fromkeys(("mim", "mim_hidden", "mlm", "mlm_hidden"), 0.0)
    patches_masked = words_masked = 0
    for batch in _batches(network, content, rows):
        patches = network.patches_of(batch.pixels)
        codes = network.codes_of(patches)
        blocks = block_mask(draws, batch.items, config.grid, config.patch_share)
        gaps = word_mask(draws, batch.items, batch.words, config.word_share)
        yes = torch.ones_like(batch.picture)
        for ending, other in (("", yes), ("_hidden", ~yes)):
            states = network(Sight(patches, batch.words, yes, other, masked_patches=blocks))
            sums["mim" + ending] += float(network.patch_losses(states, blocks, codes).double().sum())
            states = network(Sight(patches, batch.words, other, yes, masked_words=gaps))
            sums["mlm" + ending] += float(network.word_losses(states, gaps, batch.words).double().sum())
        patches_masked += int(blocks.sum())
        words_masked += int(gaps.sum())
    return MaskedLosses(
        mim=sums["mim"] / patches_masked,
        mim_hidden=sums["mim_hidden"] / patches_masked,
        mlm=sums["mlm"] / max(1, words_masked),
        mlm_hidden=sums["mlm_hidden"] / max(1, words_masked),
    )


@torch.inference_mode()
def partner_choice(
    network: JointNetwork, content: ContentBatch, rows: Tensor, seed: int, *, quiet: bool = False
) -> Partners:
    """Choose partners among pairs by masked reconstruction.

    With S_ij = Σ log p(masked word of text j | its other words, picture i), each word of a text masked once (a mask
    and its complement), the picture of text j is argmax_i S_ij. For the text of picture i the texts differ in how easy
    they are, so what the picture adds decides: argmax_j S_ij - S_0j, with no picture in S_0j.

    Args:
        network: the encoder.
        content: of all items.
        rows: int64, the pairs, at least two; the passes are twice their square.
        seed: of the masks.
        quiet: show no progress.
    """
    scores, without = word_scores(network, content, rows, seed, quiet=quiet)
    right = torch.arange(len(rows), device=scores.device)
    return Partners(
        pairs=len(rows),
        picture_of_text=_chosen(scores.T, right),
        text_of_picture=_chosen(scores - without, right),
    )


def _chosen(scores: Tensor, right: Tensor) -> float:
    # A tie is no choice: the right one must be above all others.
    own = scores.gather(1, right.unsqueeze(1))
    return float(((scores >= own).sum(1) == 1).float().mean())


@torch.inference_mode()
def word_scores(
    network: JointNetwork, content: ContentBatch, rows: Tensor, seed: int, *, quiet: bool = False
) -> tuple[Tensor, Tensor]:
    """S_ij and S_0j of `partner_choice`: pictures × texts, and texts; float64."""
    count = len(rows)
    device = network.start.device
    draws = Draws(derive_seed(seed, "joint", "partners"))
    pictures = network.patches_of(content.pixels.index_select(0, rows).to(device))
    scores = torch.zeros(count + 1, count, dtype=torch.float64, device=device)
    # The last candidate is no picture at all.
    candidates = torch.cat([pictures, torch.zeros_like(pictures[:1])])
    shown = torch.arange(count + 1, device=device) < count
    seen = network.look(candidates)
    with progress("choosing partners", count, "texts", quiet=quiet) as bar:
        for text in range(count):
            batch = content.take(rows[text : text + 1]).to(device)
            half = word_mask(draws, batch.items, batch.words, network.config.word_share)
            rest = (batch.words > 2) & ~half
            for mask in (half, rest):
                if bool(mask.any()):
                    for start in range(0, count + 1, _AT_ONCE):
                        chosen = slice(start, start + _AT_ONCE)
                        looked = None if seen is None else seen[chosen]
                        sight = (candidates[chosen], shown[chosen], looked)
                        scores[chosen, text] -= _text_loss(network, sight, batch, mask)
            bar.advance()
    return scores[:-1], scores[-1]


def _text_loss(
    network: JointNetwork, candidates: tuple[Tensor, Tensor, Tensor | None], batch: ContentBatch, mask: Tensor
) -> Tensor:
    """-log p of the masked words of one text, for each candidate (patches, whether there is one, its features)."""
    pictures, shown, seen = candidates
    size = len(pictures)
    words, gaps = batch.words.expand(size, -1), mask.expand(size, -1)
    yes = torch.ones(size, dtype=torch.bool, device=words.device)
    states = network(Sight(pictures, words, shown, yes, masked_words=gaps, features=seen))
    return network.word_losses(states, gaps, words).reshape(size, -1).double().sum(1)


def _batches(network: JointNetwork, content: ContentBatch, rows: Tensor) -> Iterator[ContentBatch]:
    for chosen in rows.split(_AT_ONCE):
        yield content.take(chosen).to(network.start.device)
