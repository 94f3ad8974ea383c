"""The synthetic record shop as a service: its catalogue encoded, two models trained on it, and `palate serve`.

Everything is real but the shop: pictures and words go through the encoders that a catalogue's own would go through.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from palate.encode.catalogue import encode_all
from palate.experiment import fit, load
from palate.ingest.sources.synthetic import SyntheticConfig, make_synthetic


@dataclass(frozen=True)
class Shop:
    """What is served.

    Attributes:
        catalogue: with its pictures below it.
        run: CRMMAN, whose scores have parts.
        bundle: EASE, whose scores are sums over the history.
    """

    catalogue: Path
    run: Path
    bundle: Path


def make_shop(folder: Path, *, users: int, items: int, epochs: int, dim: int = 16) -> Shop:
    """Draw, encode and train.

    Args:
        folder: where all of it goes.
        users, items: how large the shop is.
        epochs, dim: of CRMMAN.
    """
    config = SyntheticConfig(
        users=users,
        items=items,
        interactions=9,
        taste={"image": 0.4, "text": 0.4, "popularity": 0.1, "chance": 0.1},
        missing={"image": 0.05},
        media=("image",),
        seed=1,
    )
    catalogue = folder / "catalogue"
    make_synthetic(catalogue, config, quiet=True)
    encode_all(catalogue, ["text", "image"], quiet=True)
    data = load(catalogue, split="user-time", positive="all")
    settings = {"epochs": epochs, "dim": dim, "dislikes": "none"}
    crmman = fit("crmman", data, settings=settings, out=folder / "crmman", quiet=True)
    ease = fit("ease", data, out=folder / "run", quiet=True)
    ease.bundle().save(folder / "ease")
    return Shop(catalogue, crmman.folder, folder / "ease")


@contextmanager
def serving(shop: Shop) -> Generator[str]:
    """The address of a `palate serve` that runs as long as the block."""
    command = [sys.executable, "-m", "palate", "serve", str(shop.run), str(shop.bundle)]
    with subprocess.Popen(
        [*command, "--media", str(shop.catalogue), "--port", "0", "--workers", "2", "--timeout", "300"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("serving at "):
                    yield line.split()[2]
                    break
            else:
                raise AssertionError("palate serve ended before it served")
        finally:
            process.terminate()
            process.wait(30)
