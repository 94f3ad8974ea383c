"""The joint encoder's network: a small BEiT-3, one transformer for pictures, words and both together.

Takes patches and word ids with what is in view of each; gives a state for [CLS], every patch and every word.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from palate.core.seeds import torch_generator
from palate.encode.joint.patches import nearest_codes, normalise
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import MASK, PAD
from palate.encode.joint.warm import MAP_WIDTH, WORD_WIDTH, PictureMap, WarmStart


@dataclass(frozen=True)
class Sight:
    """What the network sees of some items.

    Attributes:
        patches: float, B × P × 3p²; anything where there is no picture.
        words: int64 ids, B × T; padding where there is no text.
        picture: bool, B; False hides the picture, or says that there is none.
        text: bool, B; likewise.
        masked_patches: bool, B × P, patches of which the place alone is seen; None for none.
        masked_words: bool, B × T, likewise.
        features: float, B × P × 112, what `look` gives of these patches, where it was worked out before; not used
            together with masked patches.
    """

    patches: Tensor
    words: Tensor
    picture: Tensor
    text: Tensor
    masked_patches: Tensor | None = None
    masked_words: Tensor | None = None
    features: Tensor | None = None


class Expert(nn.Module):
    """A feed-forward expert, W2 GELU(W1 LN(x)): … × width → … × width."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.into = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, states: Tensor) -> Tensor:
        """States after the expert, without the residual."""
        return self.out(F.gelu(self.into(self.norm(states))))


class MultiwayLayer(nn.Module):
    """A multiway transformer layer (BEiT-3, section 2.1), pre-norm.

        x ← x + Attention(LN(x)),   x ← x + Expert_m(x)

    Attention is shared by all modalities. The expert m is the vision or the language expert by the kind of token;
    in a layer with a vision-language expert, that one takes all tokens of items of which both modalities are in view.
    [CLS] goes with the picture where one is in view (BEiT-3 puts it at the picture's head), else with the words.
    """

    def __init__(self, config: JointConfig, fusion: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.patches = config.patches
        self.norm = nn.LayerNorm(config.width)
        self.mix = nn.Linear(config.width, 3 * config.width)
        self.merge = nn.Linear(config.width, config.width)
        hidden = config.expansion * config.width
        self.vision = Expert(config.width, hidden)
        self.language = Expert(config.width, hidden)
        self.both = Expert(config.width, hidden) if fusion else None

    def forward(self, states: Tensor, seen: Tensor, sight: Sight) -> Tensor:
        """One layer: B × (1 + P + T) × width; `seen` (bool, B × (1 + P + T)) says what may be attended to."""
        states = states + self._attend(self.norm(states), seen)
        if self.both is None:
            return states + self._by_kind(states, sight.picture)
        pairs = sight.picture & sight.text
        if bool(pairs.all()):
            return states + self.both(states)
        if not bool(pairs.any()):
            return states + self._by_kind(states, sight.picture)
        together, apart = torch.nonzero(pairs).flatten(), torch.nonzero(~pairs).flatten()
        one = self.both(states.index_select(0, together))
        other = self._by_kind(states.index_select(0, apart), sight.picture.index_select(0, apart))
        order = torch.cat([together, apart]).argsort()
        return states + torch.cat([one, other]).index_select(0, order)

    def _attend(self, states: Tensor, seen: Tensor) -> Tensor:
        rows, tokens, width = states.shape
        parts = self.mix(states).reshape(rows, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        met = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        return self.merge(met.transpose(1, 2).reshape(rows, tokens, width))

    def _by_kind(self, states: Tensor, picture: Tensor) -> Tensor:
        head, words = states[:, :1], states[:, 1 + self.patches :]
        seen = self.vision(states[:, : 1 + self.patches])
        read = self.language(torch.cat([head, words], dim=1))
        first = torch.where(picture[:, None, None], seen[:, :1], read[:, :1])
        return torch.cat([first, seen[:, 1:], read[:, 1:]], dim=1)


class JointNetwork(nn.Module):
    """The multiway transformer with the heads of masked data modelling.

    Wang et al., "Image as a Foreign Language: BEiT Pretraining for Vision and Vision-Language Tasks", CVPR 2023, at
    the size that a catalogue can train; MMEnc of Liu et al., "AlignRec", CIKM 2024.

    Args:
        config: see `JointConfig`.
        words: size of the vocabulary.
        seed: of the first weights.
    """

    mean: Tensor
    deviation: Tensor
    centres: Tensor
    word_features: Tensor

    def __init__(self, config: JointConfig, words: int, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.start = nn.Parameter(torch.empty(width))
        self.hidden_patch = nn.Parameter(torch.empty(width))
        self.kinds = nn.Parameter(torch.empty(2, width))
        self.patch_places = nn.Parameter(torch.empty(config.patches, width))
        self.word_places = nn.Parameter(torch.empty(config.tokens, width))
        self.words = nn.Embedding(words, width)
        self.patches = nn.Linear(config.patch_width, width)
        fused = config.layers - config.fusion_layers
        self.layers = nn.ModuleList(MultiwayLayer(config, number >= fused) for number in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.code_head = nn.Linear(width, config.codes)
        self.word_head = nn.Linear(width, width)
        self.word_bias = nn.Parameter(torch.empty(words))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("deviation", torch.ones(3))
        self.register_buffer("centres", torch.zeros(config.codes, config.patch_width))
        # Last, so that the other first weights are those of a cold start.
        self.word_map = nn.Linear(WORD_WIDTH, width, bias=False) if config.warm_words else None
        self.patch_map = nn.Linear(MAP_WIDTH, width, bias=False) if config.warm_patches else None
        self.picture_map = PictureMap() if config.warm_patches else None
        if config.warm_words:
            self.register_buffer("word_features", torch.zeros(words, WORD_WIDTH))
        self.reset_parameters(seed)

    def start_from(self, warm: WarmStart) -> None:
        """Take the frozen features of a warm start that the settings ask for."""
        if warm.words is not None:
            self.word_features = warm.words
        if self.picture_map is not None:
            self.picture_map.load_state_dict(warm.picture)

    def reset_parameters(self, seed: int) -> None:
        """Normal weights of deviation 1/√inputs, those before a residual divided by √(2 layers); zero biases.

        BEiT's 0.02 suits a width of 768 and above; at 192 a network that starts so small loses its first epochs.
        """
        generator = torch_generator(seed, "joint", "weights")
        for name, parameter in self.named_parameters():
            if not parameter.requires_grad:
                continue
            if "norm." in name:
                nn.init.ones_(parameter) if name.endswith("weight") else nn.init.zeros_(parameter)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)
            else:
                last = name.endswith(("merge.weight", "out.weight"))
                deviation = parameter.shape[-1] ** -0.5 / ((2 * self.config.layers) ** 0.5 if last else 1.0)
                nn.init.normal_(parameter, std=deviation, generator=generator)

    def forward(self, sight: Sight) -> Tensor:
        """States, B × (1 + P + T) × width: [CLS], patches, words; zero where nothing is in view."""
        rows, length = sight.words.shape
        patches = self.patches(sight.patches)
        if self.patch_map is not None:
            known = sight.features if sight.masked_patches is None else None
            seen_there = self.look(sight.patches, sight.masked_patches) if known is None else known
            patches = patches + self.patch_map(seen_there)
        patches = patches + self.patch_places + self.kinds[0]
        if sight.masked_patches is not None:
            hidden = self.hidden_patch + self.patch_places + self.kinds[0]
            patches = torch.where(sight.masked_patches.unsqueeze(-1), hidden, patches)
        ids = sight.words if sight.masked_words is None else sight.words.masked_fill(sight.masked_words, MASK)
        words = self.words(ids)
        if self.word_map is not None:
            words = words + self.word_map(F.embedding(ids, self.word_features))
        words = words + self.word_places[:length] + self.kinds[1]
        seen = torch.cat(
            [
                torch.ones(rows, 1, dtype=torch.bool, device=ids.device),
                sight.picture.unsqueeze(1).expand(-1, self.config.patches),
                sight.text.unsqueeze(1) & (sight.words != PAD),
            ],
            dim=1,
        )
        states = torch.cat([self.start.expand(rows, 1, -1), patches, words], dim=1)
        for layer in self.layers:
            states = layer(states, seen, sight)
        return self.norm(states) * seen.unsqueeze(-1)

    def summary(self, sight: Sight) -> Tensor:
        """h_enc, the state of [CLS]: B × width."""
        return self.forward(sight)[:, 0]

    def patch_losses(self, states: Tensor, masked: Tensor, codes: Tensor) -> Tensor:
        """-log p(code) of each masked patch in order, from the states of `forward`; `masked`, `codes`: B × P."""
        places = torch.nonzero(masked.flatten()).flatten()
        inner = states[:, 1 : 1 + self.config.patches].flatten(0, 1).index_select(0, places)
        return F.cross_entropy(self.code_head(inner), codes.flatten().index_select(0, places), reduction="none")

    def word_losses(self, states: Tensor, masked: Tensor, words: Tensor) -> Tensor:
        """-log p(word) of each masked word in order; `masked`, `words`: B × T. Words' vectors are the head's too."""
        places = torch.nonzero(masked.flatten()).flatten()
        inner = states[:, 1 + self.config.patches :].flatten(0, 1).index_select(0, places)
        vectors = self.words.weight
        if self.word_map is not None:
            vectors = vectors + self.word_map(self.word_features)
        scores = F.linear(F.gelu(self.word_head(inner)), vectors, self.word_bias)
        return F.cross_entropy(scores, words.flatten().index_select(0, places), reduction="none")

    def look(self, patches: Tensor, masked: Tensor | None = None) -> Tensor | None:
        """What the frozen map sees at each normalised patch, B × P × 112; None where patches start cold."""
        if self.picture_map is None:
            return None
        channels = patches.unflatten(-1, (-1, 3))
        pixels = (channels * self.deviation + self.mean).flatten(-2)
        return self.picture_map(pixels, self.config.patch, masked)

    def patches_of(self, pixels: Tensor) -> Tensor:
        """uint8 pictures (B × S × S × 3) as normalised patches, B × P × 3p²."""
        return normalise(pixels, self.mean, self.deviation, self.config.patch)

    def codes_of(self, patches: Tensor) -> Tensor:
        """The code of each patch, int64 B × P."""
        return nearest_codes(patches, self.centres)
