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

from palate.core.errors import DataError
from palate.core.places import cache_folder
from palate.core.progress import duration
from palate.core.seeds import derive_seed, torch_generator
from palate.encode.joint.content import ContentBatch, read_content
from palate.encode.joint.encoder import JointEncoder
from palate.encode.joint.model import JointNetwork
from palate.encode.joint.objective import joint_loss
from palate.encode.joint.patches import channel_statistics, fit_codebook
from palate.encode.joint.probes import MaskedLosses, Partners, masked_losses, partner_choice
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import Vocabulary
from palate.encode.joint.warm import WarmStart, need_sources
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
    warm: WarmStart | None = None,
) -> tuple[JointNetwork, Outcome, Tensor]:
    """Train the network on content; the same content, settings, seed and number of threads give the same bits.

    Args:
        content: of all items.
        vocabulary: what the words' ids mean.
        config: see `JointConfig`.
        seed: of everything.
        folder: where the checkpoint goes, so that a stopped training can go on; None keeps nothing.
        quiet: show no progress.
        warm: the warm start that the settings ask for; read from the installed packages when None.

    Returns:
        The network with its best parameters, how training ended, and the held-out rows.

    Raises:
        DataError: when there is nothing to learn from.
        MissingDependency: when the packages of the warm start are not installed.
        Interrupted, TrainingError, ArtefactError, ConfigError: see `Loop`.
    """
    learnt, held = split_pairs(content, config.held_out, seed)
    if len(learnt) == 0:
        raise DataError("no item is left to learn from", do="lower held_out, or bring more items")
    warm = warm if warm is not None else WarmStart.read(config, vocabulary)
    network = JointNetwork(config, len(vocabulary), seed)
    network.start_from(warm)
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
        identity=_identity(content, vocabulary, config, seed, warm),
        folder=folder,
        validate=validate if len(held) else None,
        metric="score",
        quiet=quiet,
    )
    outcome = loop.run()
    return network, outcome, held


def _identity(content: ContentBatch, vocabulary: Vocabulary, config: JointConfig, seed: int, warm: WarmStart) -> str:
    # What moves neither the weights nor their order may change between two sittings.
    settings = config.model_dump_json(exclude={"device", "probe_partners", "max_pixels", "max_bytes", "anywhere"})
    words = "\x1f".join(vocabulary.words)
    facts = f"joint 1|{settings}|{seed}|{content.digest}|{words}|{warm.identity}"
    return hashlib.sha256(facts.encode()).hexdigest()


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
        MissingDependency: without the `image` extra, where there are pictures; without the extras of a warm start.
        Interrupted, TrainingError, ConfigError: see `Loop`.
    """
    settings = config if config is not None else JointConfig()
    # Said now, not after the training.
    JointEncoder.check_target(encoder_folder, replace)
    need_sources(settings)
    content, vocabulary, failed = read_content(Catalogue.load(catalogue_folder), settings, seed, quiet=quiet)
    warm = WarmStart.read(settings, vocabulary)
    training = cache_folder() / "joint" / _identity(content, vocabulary, settings, seed, warm)[:16]
    network, outcome, held = train_joint(content, vocabulary, settings, seed, folder=training, quiet=quiet, warm=warm)
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
