"""Pictures and sounds of the synthetic world: real files that show and play what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ingest.sources.reading_back import decode, hear
from palate.ingest.sources import drawing, sounds
from palate.ingest.sources.drawing import Scene
from palate.ingest.sources.sounds import Tune


@given(
    scene=st.builds(
        Scene,
        shape=st.integers(0, len(drawing.SHAPES) - 1),
        colour=st.integers(0, len(drawing.COLOURS) - 1),
        background=st.integers(0, len(drawing.BACKGROUNDS) - 1),
        count=st.integers(0, 4),
        stripes=st.just(0),
    ),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_picture_shows_its_colours_and_a_file_gives_them_back(scene: Scene, seed: int) -> None:
    jitter = np.random.default_rng(seed).random(drawing.JITTER)
    pixels = drawing.draw(scene, jitter, 64)
    assert np.array_equal(decode(drawing.png_bytes(pixels)), pixels)
    flat = pixels.reshape(-1, 3).astype(np.float64)
    ground = list(drawing.BACKGROUNDS.values())[scene.background]
    paint = np.array(list(drawing.COLOURS.values())[scene.colour])
    on_ground = (flat == ground).all(axis=1)
    on_shape = np.abs(flat - paint * (0.9 + 0.1 * jitter[2])).max(axis=1) < 1.5
    assert on_ground.mean() > 0.25
    assert on_shape.mean() > 0.03
    # What is left are outlines and soft edges.
    assert (on_ground | on_shape).mean() > 0.55
    assert np.array_equal(pixels[[0, 0, -1, -1], [0, -1, 0, -1]], np.array([ground] * 4))


def test_shapes_can_be_told_apart_whatever_their_size_turn_and_place() -> None:
    # What is compared is which parts of its own box a shape fills.
    def outline(shape: int, seed: int) -> NDArray[np.float64]:
        jitter = np.random.default_rng(seed).random(drawing.JITTER)
        pixels = drawing.draw(Scene(shape, 0, 0, 0, 0), jitter, 96).astype(np.int64)
        rows, columns = np.nonzero(pixels[:, :, 2] < 150)
        high = (rows - rows.min()) * 8 // (np.ptp(rows) + 1)
        wide = (columns - columns.min()) * 8 // (np.ptp(columns) + 1)
        box = np.zeros((8, 8))
        np.add.at(box, (high, wide), 1.0)
        return box.ravel() / box.max()

    known = [np.mean([outline(shape, seed) for seed in range(12)], axis=0) for shape in range(len(drawing.SHAPES))]
    right = [
        int(np.argmin([np.abs(outline(shape, seed) - other).sum() for other in known])) == shape
        for shape in range(len(drawing.SHAPES))
        for seed in range(100, 110)
    ]
    assert np.mean(right) > 0.9


@pytest.mark.parametrize(("stripes", "along"), [("horizontal", 1), ("vertical", 0), ("diagonal", None)])
def test_stripes_run_as_their_name_says(stripes: str, along: int | None) -> None:
    jitter = np.full(drawing.JITTER, 0.5)
    pixels = drawing.draw(Scene(0, 0, 0, 0, drawing.STRIPES.index(stripes)), jitter, 96).astype(np.int64)
    corner = pixels[:14, :14, 0]
    steady = [not np.diff(corner, axis=axis).any() for axis in (0, 1)]
    assert steady == [axis == along for axis in (0, 1)]
    assert len(np.unique(pixels[0, :, 0])) == (1 if along == 1 else 2)


@pytest.mark.parametrize("pitch", range(len(sounds.PITCHES)))
def test_a_level_flute_sounds_at_its_pitch(pitch: int) -> None:
    flute, level = list(sounds.TIMBRES).index("flute"), list(sounds.MELODIES).index("level")
    hiss = np.random.default_rng(pitch).standard_normal(16000).astype(np.float32)
    samples = hear(sounds.wav_bytes(sounds.play(Tune(pitch, flute, 0, level), 0.6, hiss)))
    loudest = np.abs(np.fft.rfft(samples)).argmax() * sounds.SAMPLE_RATE / len(samples)
    # Two notes a second blur the pitch by two hertz.
    assert loudest == pytest.approx(list(sounds.PITCHES.values())[pitch], abs=2.1)


@pytest.mark.parametrize("rhythm", range(len(sounds.RHYTHMS)))
def test_a_tune_has_its_number_of_notes_a_second_and_every_instrument_is_as_loud(rhythm: int) -> None:
    silence = np.zeros(8000, dtype=np.float32)
    for timbre in range(len(sounds.TIMBRES)):
        samples = sounds.play(Tune(2, timbre, rhythm, 1), 0.5, silence).astype(np.float64)
        notes = list(sounds.RHYTHMS.values())[rhythm]
        length = sounds.SAMPLE_RATE // notes
        loudness = [
            np.sqrt(np.mean(samples[start : start + length] ** 2)) for start in range(0, notes * length, length)
        ]
        assert loudness == pytest.approx([4500.0] * notes, rel=0.01)
        assert np.abs(samples[: notes * length : length]).max() < 50
