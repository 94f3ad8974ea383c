"""Which content is chosen, and that of another encoder is refused."""

from __future__ import annotations

import numpy as np
import pytest

from palate.core.errors import ConfigError
from palate.encode.concat import concatenated
from palate.encode.features import Features
from palate.models.content import content_of

WIDTHS = {"joint": 4, "text": 6, "image": 3}


def features(*names: str, encoder: str = "given") -> dict[str, Features]:
    generator = np.random.default_rng(0)
    return {
        name: Features(
            name,
            generator.normal(size=(5, WIDTHS[name])).astype(np.float32),
            np.ones(5, np.bool_),
            encoder,
            tuple("abcde"),
        )
        for name in names
    }


def test_joint_is_taken_where_there_is_one_and_else_the_concatenation() -> None:
    with_joint, without = features("text", "joint"), features("text", "image")
    assert content_of(with_joint) is content_of(with_joint, "joint") is with_joint["joint"]
    for choice in ("auto", "concat"):
        assert content_of(without, choice).fingerprint == concatenated(without).fingerprint
    assert content_of(with_joint, "concat").width == WIDTHS["text"] + WIDTHS["joint"]
    assert content_of(without, "image") is without["image"]


def test_content_that_is_not_there_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="is to be 'joint', and the features are text, image") as caught:
        content_of(features("text", "image"), "joint")
    assert "palate pretrain joint" in caught.value.do
    assert "content=concat" in caught.value.do
    with pytest.raises(ConfigError, match="is to be 'sound'") as caught:
        content_of(features("text"), "sound")
    assert "name one of these" in caught.value.do


def test_features_of_another_encoder_than_the_one_named_are_refused() -> None:
    ours, other = "ab" * 32, "cd" * 32
    made = features("joint", encoder=f"joint 1 fingerprint={ours}")
    assert content_of(made, "auto", ours) is made["joint"]
    filled = features("joint", encoder=f"joint 1 fingerprint={ours} imputed=mean")
    assert content_of(filled, "auto", ours) is filled["joint"]
    with pytest.raises(ConfigError, match="'joint' is not of the joint encoder") as caught:
        content_of(made, "joint", other)
    assert ours in caught.value.where
    assert other in caught.value.where
    with pytest.raises(ConfigError, match="'concat' is not of the joint encoder"):
        content_of(made, "concat", ours)
