"""The network: shapes, what is hidden has no influence at all, and every expert has its work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from encode.joint.small import gradient_sizes, random_sight, small_config, small_network
from palate.core.errors import ConfigError
from palate.encode.joint.model import JointNetwork, Sight
from palate.encode.joint.settings import JointConfig
from palate.encode.joint.tokens import PAD


def test_states_of_the_class_every_patch_and_every_word() -> None:
    network = small_network()
    sight = random_sight(network, [True] * 5, [True] * 5)
    states = network(sight)
    assert states.shape == (5, 1 + 16 + 7, 24)
    assert network.summary(sight).shape == (5, 24)
    assert torch.equal(network.summary(sight), states[:, 0])
    assert bool((states != 0).any(-1).all())


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        ([True, True, True], [False, False, False]),
        ([False, False, False], [True, True, True]),
        ([True, False, True], [False, True, True]),
        ([False, False, True], [False, True, False]),
    ],
)
def test_what_is_hidden_has_no_influence_to_the_last_bit(picture: list[bool], text: list[bool]) -> None:
    network = small_network()
    sight = random_sight(network, picture, text)
    other = random_sight(network, picture, text, seed=1)
    patches = torch.where(sight.picture[:, None, None], sight.patches, 1000.0 * other.patches)
    words = torch.where(sight.text[:, None], sight.words, other.words)
    changed = Sight(patches, words, sight.picture, sight.text)
    assert not torch.equal(words, sight.words) or not torch.equal(patches, sight.patches)
    assert torch.equal(network(changed), network(sight))


def test_what_is_in_view_has_influence() -> None:
    network = small_network()
    sight = random_sight(network, [True], [True])
    other = random_sight(network, [True], [True], seed=1)
    before = network.summary(sight)
    assert not torch.allclose(network.summary(replace(sight, patches=other.patches)), before)
    assert not torch.allclose(network.summary(replace(sight, words=other.words)), before)
    assert not torch.allclose(network.summary(replace(sight, words=sight.words.flip(1))), before)
    assert not torch.allclose(network.summary(replace(sight, patches=sight.patches.flip(1))), before)


def test_the_content_of_masked_patches_and_words_has_no_influence_but_their_places_have() -> None:
    network = small_network()
    sight = random_sight(network, [True, True], [True, True])
    patch = torch.zeros(2, 16, dtype=torch.bool)
    patch[:, [2, 5, 6]] = True
    word = torch.zeros(2, 7, dtype=torch.bool)
    word[:, [0, 4]] = True
    masked = replace(sight, masked_patches=patch, masked_words=word)
    changed = replace(
        masked,
        patches=torch.where(patch.unsqueeze(-1), 9.0, sight.patches),
        words=torch.where(word, 19, sight.words),
    )
    assert torch.equal(network(changed), network(masked))
    assert not torch.allclose(network(replace(masked, masked_patches=patch.flip(1))), network(masked))


def test_padding_changes_nothing() -> None:
    network = small_network()
    sight = random_sight(network, [True, False], [True, True])
    longer = replace(sight, words=torch.cat([sight.words, torch.full((2, 5), PAD)], dim=1))
    torch.testing.assert_close(network(longer)[:, : 1 + 16 + 7], network(sight), rtol=1e-5, atol=1e-6)
    assert not network(longer)[:, 1 + 16 + 7 :].any()


def test_the_company_in_a_batch_changes_nothing() -> None:
    network = small_network()
    sight = random_sight(network, [True, True, False, False, True], [True, False, True, False, True])
    together = network(sight)
    for row in range(5):
        one = Sight(
            sight.patches[row : row + 1], sight.words[row : row + 1], sight.picture[row : row + 1],
            sight.text[row : row + 1],
        )  # fmt: skip
        torch.testing.assert_close(network(one)[0], together[row], rtol=1e-5, atol=1e-6)


EXPERTS: dict[tuple[str, ...], set[str]] = {
    ("picture",): {"layers.0.vision", "layers.1.vision", "layers.2.vision"},
    ("text",): {"layers.0.language", "layers.1.language", "layers.2.language"},
    ("picture", "text"): {
        "layers.0.vision", "layers.1.vision", "layers.0.language", "layers.1.language", "layers.2.both",
    },
}  # fmt: skip


@pytest.mark.parametrize("shown", EXPERTS)
def test_each_kind_of_input_uses_its_own_experts_and_no_others(shown: tuple[str, ...]) -> None:
    network = small_network()
    sight = random_sight(network, ["picture" in shown] * 3, ["text" in shown] * 3)
    network(sight).square().sum().backward()
    sizes = gradient_sizes(network)
    used = {name.removesuffix(".into.weight") for name, size in sizes.items() if "into.weight" in name and size > 0}
    assert used == EXPERTS[shown]
    for layer in range(3):
        assert sizes[f"layers.{layer}.mix.weight"] > 0


def test_an_expert_sees_the_tokens_of_its_kind_alone() -> None:
    network = small_network(layers=1, fusion_layers=0)
    sight = random_sight(network, [True], [True])
    before = network(sight)
    with torch.no_grad():
        network.layers[0].get_submodule("language").get_submodule("out").get_parameter("bias").add_(torch.arange(24.0))
    after = network(sight)
    # [CLS] goes with the picture where there is one.
    torch.testing.assert_close(after[:, :17], before[:, :17], rtol=0, atol=0)
    assert not torch.allclose(after[:, 17:], before[:, 17:])


def test_the_masked_losses_are_cross_entropies_of_the_heads() -> None:
    network = small_network()
    sight = random_sight(network, [True, True], [True, True])
    states = network(sight)
    mask = torch.zeros(2, 16, dtype=torch.bool)
    mask[0, 3] = mask[1, 9] = True
    codes = torch.arange(32).reshape(2, 16) % 16
    losses = network.patch_losses(states, mask, codes)
    for number, (row, place) in enumerate([(0, 3), (1, 9)]):
        scores = network.code_head(states[row, 1 + place])
        expected = scores.logsumexp(0) - scores[codes[row, place]]
        torch.testing.assert_close(losses[number], expected)
    gaps = torch.zeros(2, 7, dtype=torch.bool)
    gaps[1, 2] = True
    hidden = torch.nn.functional.gelu(network.word_head(states[1, 1 + 16 + 2]))
    scores = network.words.weight @ hidden + network.word_bias
    expected = scores.logsumexp(0) - scores[sight.words[1, 2]]
    torch.testing.assert_close(network.word_losses(states, gaps, sight.words), expected.unsqueeze(0))


def test_the_first_weights_are_a_function_of_the_seed() -> None:
    first, again, other = (JointNetwork(small_config(), 20, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["words.weight"], other["words.weight"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"heads": 5}, "must divide width"),
        ({"patch": 7}, "must divide side"),
        ({"fusion_layers": 4}, "more than layers"),
        ({"patch": 32}, "more than one patch"),
        ({"layer": 2}, "did you mean 'layers'"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_config(**wrong)
    assert JointConfig().width == 192
