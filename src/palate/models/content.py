"""Which content a model of one content vector reads: the joint encoder's, all modalities together, or one of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from palate.core.errors import ConfigError
from palate.encode.concat import CONCAT, concatenated
from palate.encode.features import Features
from palate.encode.joint.encoder import NAME as JOINT


def choose_content(modalities: Collection[str], choice: str) -> str:
    """What "auto" stands for where there are these modalities; any other choice as it is."""
    return choice if choice != "auto" else JOINT if JOINT in modalities else CONCAT


def content_of(features: Mapping[str, Features], choice: str = "auto", fingerprint: str | None = None) -> Features:
    """h_enc of every item.

    Args:
        features: modality → features; at least one.
        choice: "joint" (rows of the joint encoder), "concat" (all modalities, see `concatenated`), "auto" (joint where
            there is such a modality, else concat), or the name of one modality, whose rows are taken as they are.
        fingerprint: of the joint encoder that must have made them; None: any features will do.

    Raises:
        ConfigError: when there are no such features, or another encoder made them.
    """
    choice = choose_content(features, choice)
    if choice != CONCAT and choice not in features:
        encode = "palate pretrain joint CAT -o ENC, then palate encode CAT --encoder ENC"
        raise ConfigError(
            f"the content is to be '{choice}', and the features are {', '.join(features)}",
            where="setting content",
            do=f"make it ({encode}), or set content=concat" if choice == JOINT else "name one of these, or concat",
        )
    content = concatenated(features) if choice == CONCAT else features[choice]
    made_by = [] if choice == CONCAT else content.encoder.split()
    if fingerprint is not None and f"fingerprint={fingerprint}" not in made_by:
        raise ConfigError(
            f"the content '{content.name}' is not of the joint encoder that the settings name",
            where=f"wanted: encoder_fingerprint={fingerprint}; found: {content.encoder}",
            do="encode the catalogue with that encoder, or unset encoder_fingerprint",
        )
    return content
