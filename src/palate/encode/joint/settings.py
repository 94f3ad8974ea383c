"""Settings of the joint encoder and of its pre-training, apart from the model so that reading them loads no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from palate.core.config import Config


class JointConfig(Config):
    """Settings of the joint encoder (AlignRec's MMEnc, a small BEiT-3) and of its pre-training.

    The defaults are ours: the papers train models a thousand times larger on millions of pairs.
    """

    layers: int = Field(default=4, ge=1, le=48)
    """Transformer layers."""
    fusion_layers: int = Field(default=2, ge=0)
    """How many of them, from the top, have a vision-language expert; BEiT-3 has three of them among its 40."""
    width: int = Field(default=192, ge=8, le=4096)
    """Numbers of a state, and so of h_enc."""
    heads: int = Field(default=6, ge=1)
    """Attention heads; they divide the width."""
    expansion: int = Field(default=2, ge=1, le=8)
    """Hidden width of an expert, in widths; BEiT-3 takes 4, and half of that halves the time of a small model."""
    side: int = Field(default=96, ge=8, le=1024)
    """Pixels to which each side of a picture is scaled."""
    patch: int = Field(default=16, ge=2)
    """Pixels of a patch's side; it divides `side`."""
    tokens: int = Field(default=64, ge=2, le=2048)
    """Words read of each text; the rest is cut off."""
    vocabulary: int = Field(default=8000, ge=8)
    """Most words that are told apart, the most frequent first; a word must occur in two items."""
    codes: int = Field(default=256, ge=2, le=8192)
    """Centres of the codebook, the targets of masked patches."""
    patch_share: float = Field(default=0.4, gt=0, lt=1)
    """Share of patches masked, in blocks."""
    word_share: float = Field(default=0.5, gt=0, lt=1)
    """Share of words masked."""
    warm_start: Literal["none", "minilm", "efficientnet", "both"] = "none"
    """Frozen features that words (minilm) or patches (efficientnet) have from the first step on, each through a linear
    map that is trained and added to what is learnt anyway. They are stored with the encoder."""
    alone_share: float = Field(default=0.2, ge=0, le=1)
    """Share of pairs of which a step sees one modality alone, as BEiT-3 also learns from pictures and texts without
    partners; items that lack the other modality are encoded by what is learnt there."""
    contrastive_weight: float = Field(default=0.0, ge=0)
    """Weight of an InfoNCE between [CLS] of a pair's picture and of its text, each alone; 0 as in the paper."""
    contrastive_temperature: float = Field(default=0.1, gt=0)
    """τ of that term."""
    epochs: int = Field(default=12, ge=1)
    """At most this many passes over the items."""
    patience: int = Field(default=6, ge=1)
    """Epochs without a lower held-out loss before stopping."""
    batch_size: int = Field(default=16, ge=1)
    """Items in a step; each passes the model twice, once for words and once for patches."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Adam's step size."""
    held_out: float = Field(default=0.1, ge=0, lt=1)
    """Share of the pairs that validate and are probed, and that nothing is learnt from."""
    probe_partners: int = Field(default=100, ge=0)
    """Held-out pairs among which partners are sought after training: its square times two passes; 0 leaves it out."""
    most_items: int = Field(default=20_000, ge=1)
    """Items that pre-training holds in memory; a seeded sample of a larger catalogue."""
    max_pixels: int = Field(default=50_000_000, ge=1)
    """Width times height of the largest picture that is decoded."""
    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1)
    """Size of the largest picture file that is read."""
    anywhere: bool = False
    """Also read absolute paths, and paths and links that leave the media folder."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one, else the processor."""

    @model_validator(mode="after")
    def _fits(self) -> JointConfig:
        if self.width % self.heads:
            raise ValueError(f"heads={self.heads} must divide width={self.width}")
        if self.side % self.patch:
            raise ValueError(f"patch={self.patch} must divide side={self.side}")
        if self.side == self.patch:
            raise ValueError("a picture must have more than one patch")
        if self.fusion_layers > self.layers:
            raise ValueError(f"fusion_layers={self.fusion_layers} are more than layers={self.layers}")
        return self

    @property
    def warm_words(self) -> bool:
        """Whether words start from MiniLM."""
        return self.warm_start in ("minilm", "both")

    @property
    def warm_patches(self) -> bool:
        """Whether patches start from EfficientNet-Lite0."""
        return self.warm_start in ("efficientnet", "both")

    @property
    def grid(self) -> int:
        """Patches along a picture's side."""
        return self.side // self.patch

    @property
    def patches(self) -> int:
        """Patches of a picture."""
        return self.grid**2

    @property
    def patch_width(self) -> int:
        """Numbers of a patch: red, green and blue of its pixels."""
        return 3 * self.patch**2
