"""Raw content to `Features`: encoders, the driver that runs them, and the store that keeps what they made.

Importing this package registers the encoders and loads neither torch nor transformers.
"""

from __future__ import annotations

from palate.encode.audio import LogMelConfig, TransformersAudioConfig
from palate.encode.base import ENCODERS, Encoder, EncoderEntry, EncodeSummary, build_encoder, encode
from palate.encode.categories import CategoriesConfig
from palate.encode.features import Features
from palate.encode.image import EfficientNetConfig, TransformersImageConfig
from palate.encode.knowledge import KnowledgeConfig
from palate.encode.text import TextEncoderConfig, item_texts

__all__ = [
    "ENCODERS",
    "CategoriesConfig",
    "EfficientNetConfig",
    "EncodeSummary",
    "Encoder",
    "EncoderEntry",
    "Features",
    "KnowledgeConfig",
    "LogMelConfig",
    "TextEncoderConfig",
    "TransformersAudioConfig",
    "TransformersImageConfig",
    "build_encoder",
    "encode",
    "item_texts",
]
