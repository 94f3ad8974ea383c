"""Pre-training of the joint encoder on a catalogue's own pictures and words, by masked data modelling.

Takes a stored catalogue; gives an encoder folder and a report with what held-out pairs say about it.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core.errors import ArtefactError, DataError
from palate.core.places import cache_folder
from palate.core.progress import duration
from palate.core.seeds import Draws, derive_seed, torch_generator
from palate.encode.joint.content import ContentBatch, joint_inputs, read_pictures
from palate.encode.joint.encoder import JointEncoder
from palate.encode.joint.masks import alone, block_mask, word_mask
from palate.encode.joint.model import JointNetwork, Sight
from palate.encode.joint.patches import channel_statistics, fit_codebook
from palate.encode.joint.probes import MaskedLosses, Partners, masked_losses, partner_choice
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import Vocabulary
from palate.ingest.catalogue import Catalogue
from palate.optimise.loop import Loop, Outcome
from palate.optimise.settings import LoopConfig

CHECKPOINT_SECONDS = 60.0


@dataclass(frozen=True)
class JointReport:
    """What pre-training did.

    Attributes:
        items: items with words, a picture or both that were learnt from.
        pairs: those of them with both.
        held_out: pairs that nothing was learnt from.
        words: size of the vocabulary.
        outcome: how the optimisation ended.
        losses: masked losses on the held-out pairs, None without any.
        partners: partner choice on held-out pairs, None where it was left out.
        failed: pictures that could not be read, by item id.
        fingerprint: of the encoder.
    """

    items: int
    pairs: int
    held_out: int
    words: int
    outcome: Outcome
    losses: MaskedLosses | None
    partners: Partners | None
    failed: tuple[tuple[str, str], ...]
    fingerprint: str

    def __str__(self) -> str:
        outcome = self.outcome
        lines = [
            f"joint encoder: {self.items:,} items ({self.pairs:,} pairs, {self.held_out:,} more held out), "
            f"{self.words:,} words, best of {outcome.epochs} epochs {outcome.best_epoch}, {duration(outcome.seconds)}"
        ]
        if self.losses is not None:
            lines += [f"  {line}" for line in str(self.losses).splitlines()]
        if self.partners is not None:
            lines.append(f"  {self.partners}")
        lines += [f"  failed: item '{item}': {reason}" for item, reason in self.failed[:5]]
        if len(self.failed) > 5:
            lines.append(f"  failed: {len(self.failed) - 5:,} more")
        return "\n".join(lines)


class ItemBatches:
    """Every item once an epoch, in random order.

    Args:
        content: of all items.
        rows: int64, those to learn from.
        size: items in a batch; the last one of an epoch may be smaller.
        seed: of the order.
    """

    def __init__(self, content: ContentBatch, rows: Tensor, size: int, seed: int) -> None:
        self.content, self.rows, self.size, self.seed = content, rows, size, seed

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return -(-len(self.rows) // self.size)

    def epoch(self, number: int) -> Iterator[ContentBatch]:
        """The batches of epoch `number`."""
        order = torch.randperm(len(self.rows), generator=torch_generator(self.seed, "joint", "order", number))
        for chosen in self.rows.index_select(0, order).split(self.size):
            yield self.content.take(chosen)


def joint_loss(network: JointNetwork, batch: ContentBatch, draws: Draws) -> dict[str, Tensor]:
    """L_ICA = L_MIM + L_MLM (AlignRec, section 4.1), and the contrastive term where it has a weight.

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


def split_pairs(content: ContentBatch, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to learn from, and held-out rows: a seeded share of the pairs. Both in ascending order."""
    pairs = content.pairs
    order = torch.randperm(len(pairs), generator=torch_generator(seed, "joint", "held out"))
    held = pairs.index_select(0, order[: round(share * len(pairs))]).sort().values
    there = content.picture | content.text
    there[held] = False
    return torch.nonzero(there).flatten(), held


def train_joint(
    content: ContentBatch,
    vocabulary: Vocabulary,
    config: JointConfig,
    seed: int,
    *,
    folder: Path | None = None,
    quiet: bool = False,
) -> tuple[JointNetwork, Outcome, Tensor]:
    """Train the network on content; the same content, settings, seed and number of threads give the same bits.

    Args:
        content: of all items.
        vocabulary: what the words' ids mean.
        config: see `JointConfig`.
        seed: of everything.
        folder: where the checkpoint goes, so that a stopped training can go on; None keeps nothing.
        quiet: show no progress.

    Returns:
        The network with its best parameters, how training ended, and the held-out rows.

    Raises:
        DataError: when there is nothing to learn from.
        Interrupted, TrainingError, ArtefactError, ConfigError: see `Loop`.
    """
    learnt, held = split_pairs(content, config.held_out, seed)
    if len(learnt) == 0:
        raise DataError("no item is left to learn from", do="lower held_out, or bring more items")
    network = JointNetwork(config, len(vocabulary), seed)
    pictures = content.pixels.index_select(0, learnt[content.picture.index_select(0, learnt)])
    network.mean, network.deviation = channel_statistics(pictures)
    network.centres = fit_codebook(pictures, network.mean, network.deviation, config, seed)

    def validate() -> Mapping[str, float]:
        losses = masked_losses(network, content, held, seed)
        return {**losses.as_dict(), "score": -(losses.mim + losses.mlm)}

    loop = Loop(
        network,
        lambda batch, draws: joint_loss(network, batch, draws),
        ItemBatches(content, learnt, config.batch_size, seed),
        LoopConfig(
            epochs=config.epochs,
            learning_rate=config.learning_rate,
            patience=config.patience,
            device=config.device,
            checkpoint_seconds=CHECKPOINT_SECONDS,
        ),
        seed=derive_seed(seed, "joint", "masks"),
        identity=_identity(content, vocabulary, config, seed),
        folder=folder,
        validate=validate if len(held) else None,
        metric="score",
        quiet=quiet,
    )
    outcome = loop.run()
    return network, outcome, held


def _identity(content: ContentBatch, vocabulary: Vocabulary, config: JointConfig, seed: int) -> str:
    # What moves neither the weights nor their order may change between two sittings.
    settings = config.model_dump_json(exclude={"device", "probe_partners"})
    words = "\x1f".join(vocabulary.words)
    return hashlib.sha256(f"joint 1|{settings}|{seed}|{content.digest}|{words}".encode()).hexdigest()


def pretrain_joint(
    catalogue_folder: Path,
    encoder_folder: Path,
    config: JointConfig | None = None,
    seed: int = 0,
    quiet: bool = False,
    *,
    replace: bool = False,
) -> JointReport:
    """Pre-train a joint encoder on a catalogue's own pairs and store it.

    A call that was stopped goes on where it was when it is repeated.

    Args:
        catalogue_folder: the catalogue.
        encoder_folder: where the encoder goes.
        config: see `JointConfig`.
        seed: of weights, masks, order and held-out pairs.
        quiet: show no progress.
        replace: take the place of an encoder that is there.

    Raises:
        ArtefactError: when `encoder_folder` exists and may not be replaced, or the catalogue is damaged.
        DataError: when no item has words or a picture, or nothing is left to learn from.
        MissingDependency: without the `image` extra, where there are pictures.
        Interrupted, TrainingError, ConfigError: see `Loop`.
    """
    settings = config if config is not None else JointConfig()
    if encoder_folder.exists() and not replace:
        raise ArtefactError(f"{encoder_folder} exists already", do="choose another folder, or replace it (--replace)")
    content, vocabulary, failed = read_content(Catalogue.load(catalogue_folder), settings, seed, quiet=quiet)
    training = cache_folder() / "joint" / _identity(content, vocabulary, settings, seed)[:16]
    network, outcome, held = train_joint(content, vocabulary, settings, seed, folder=training, quiet=quiet)
    losses = masked_losses(network, content, held, seed) if len(held) else None
    asked = held[: settings.probe_partners]
    partners = partner_choice(network, content, asked, seed, quiet=quiet) if len(asked) > 1 else None
    encoder = JointEncoder(network.to("cpu"), vocabulary)
    encoder.save(encoder_folder, replace=replace, history=outcome.history)
    shutil.rmtree(training, ignore_errors=True)
    there = int((content.picture | content.text).sum())
    return JointReport(
        items=there - len(held),
        pairs=len(content.pairs) - len(held),
        held_out=len(held),
        words=len(vocabulary),
        outcome=outcome,
        losses=losses,
        partners=partners,
        failed=failed,
        fingerprint=encoder.fingerprint,
    )


def read_content(
    catalogue: Catalogue, config: JointConfig, seed: int, *, quiet: bool = False
) -> tuple[ContentBatch, Vocabulary, tuple[tuple[str, str], ...]]:
    """The content of a catalogue's items as tensors, the vocabulary of their words, and the pictures that failed.

    Raises:
        DataError: when the catalogue has neither words nor pictures.
        MissingDependency: without the `image` extra, where there are pictures.
    """
    inputs = joint_inputs(catalogue)
    rows = [row for row, value in enumerate(inputs) if value is not None]
    if len(rows) > config.most_items:
        order = torch.randperm(len(rows), generator=torch_generator(seed, "joint", "sample"))
        rows = sorted(rows[place] for place in order[: config.most_items].tolist())
    chosen = [value for row in rows if (value := inputs[row]) is not None]
    texts = [value.text for value in chosen]
    vocabulary = Vocabulary.of(texts, config.vocabulary)
    words = torch.from_numpy(vocabulary.encode_all(texts, config.tokens))
    pixels, there, problems = read_pictures([value.picture for value in chosen], config.side, quiet=quiet)
    ids = catalogue.items["item_id"].gather(rows).to_list()
    failed = tuple((ids[row], reason) for row, reason in sorted(problems.items()))
    text = torch.tensor([text is not None for text in texts], dtype=torch.bool)
    return ContentBatch(torch.arange(len(rows)), pixels, words, there, text), vocabulary, failed
