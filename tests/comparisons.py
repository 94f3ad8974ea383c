"""Made-up results of a comparison, as a comparison stores them, for tests of what is made of such results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palate.measure.metrics import METRICS
from palate.measure.significance import separate
from palate.study.results import COMPARED, separation_as_dict

USERS = 300


@dataclass(frozen=True)
class Entrant:
    """A made-up entrant: its mean, and how it came about."""

    mean: float
    model: str = ""
    title: str = ""
    features: tuple[str, ...] = ()
    epochs: int = 0
    seeds: int = 5
    slices: tuple[int, int] = (200, 12)


def results(entrants: Mapping[str, Entrant], **changes: Any) -> dict[str, Any]:
    """Stored results of made-up entrants whose users differ by chance alone around their means.

    The metrics at 10 are pure noise, the same for all but a little; so they separate nobody.
    """
    generator = np.random.default_rng(0)
    shared, level = generator.random(USERS) / 10, generator.random(USERS)
    by_metric: dict[str, dict[str, NDArray[np.float64]]] = {metric: {} for metric in COMPARED}
    for label, entrant in entrants.items():
        for metric in COMPARED:
            told = metric.endswith("@20")
            noise = generator.normal(scale=0.02, size=USERS)
            by_metric[metric][label] = (entrant.mean + shared if told else level) + noise
    separated = {metric: separate(values, resamples=400) for metric, values in by_metric.items()}
    order = separated[COMPARED[0]].order
    made = {
        "plan": {
            "data": "CAT",
            "fingerprint": "f" * 64,
            "entrants": dict.fromkeys(entrants, "recipe.yaml"),
            "seeds": 5,
            "trials": 0,
            "knock_out": False,
        },
        "environment": {"palate": "0.1.0", "cores": 2, "command": ["palate", "compare", "--data", "my data"]},
        "data": data(),
        "test_users": USERS,
        "models": {label: model(label, entrants[label], by_metric) for label in order},
        "separation": {metric: separation_as_dict(found) for metric, found in separated.items()},
        "knock_out": [],
        "failed": {},
    }
    return {**made, **changes}


def data() -> dict[str, Any]:
    parts = {f"{part}_{kind}": 100 for part in ("train", "valid", "test") for kind in ("interactions", "positives")}
    return {
        "name": "corner shop",
        "users": USERS,
        "items": 500,
        **parts,
        "features": {"image": 0.5, "text": 1.0},
        "missing": {"image": 250, "text": 0},
        "imputed": {},
        "settings": {"split": "user-time", "seed": 0, "positive": 4.0, "dislike": 2.0, "thin": 1.0, "cold_share": 0.2},
        "fingerprint": "f" * 64,
        "notes": ["a note"],
    }


def model(label: str, entrant: Entrant, values: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> dict[str, Any]:
    def interval(mean: float) -> dict[str, float]:
        return {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}

    metrics = {name: interval(entrant.mean) for name in METRICS} | {
        metric: interval(float(values[metric][label].mean())) for metric in COMPARED
    }
    spread = 0.002 if entrant.seeds > 1 and entrant.epochs else None
    return {
        "model": entrant.model or label,
        "title": entrant.title or label.upper(),
        "source": "a paper",
        "settings_from": label,
        "settings": {"dim": 64, "weights": {"image": 0.5}, "order": ["image", "text"], "fast": True, "gone": None},
        "training": {"epochs": 100, "metric": "recall@20"},
        "features": list(entrant.features),
        "seeds": entrant.seeds if entrant.epochs else 1,
        "metrics": {name: {**found, "over_seeds": spread} for name, found in metrics.items()},
        "clicks": {"auc": 0.8, "click_ndcg@5": 0.5},
        "beyond": {"coverage@5": 0.1, "coverage@20": 0.2, "ild_text@20": None, "arp@20": 1234.5},
        "slices": {
            "items/head": slice_of("items", entrant.slices[0], entrant.mean),
            "items/cold": slice_of("items", entrant.slices[1], 0.0),
            "items/no-image": slice_of("items", 0, 0.0),
            "users/few": slice_of("users", entrant.slices[0], entrant.mean),
        },
        "validation": {"recall@20": entrant.mean + 0.01},
        "cost": {
            "seconds": 0.5 + 10 * entrant.epochs,
            "seconds_per_epoch": 10.0 if entrant.epochs else None,
            "epochs": float(entrant.epochs) if entrant.epochs else None,
            "best_epoch": entrant.epochs / 2 if entrant.epochs else None,
            "process_peak_memory_mb": 500.0,
            "parameters": 1000.0 * entrant.epochs,
        },
        "history": [
            {"epoch": epoch, "loss": 1 / epoch, "seconds": 10.0 * epoch}
            | ({"validation": entrant.mean * epoch / entrant.epochs} if epoch % 2 == 0 else {})
            for epoch in range(1, entrant.epochs + 1)
        ],
    }


def slice_of(kind: str, users: int, mean: float) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": kind, "meaning": "some", "members": 40, "users": users, "positives": 2 * users}
    interval = {"mean": mean, "low": mean, "high": mean + 0.01}
    return found | ({"recall@20": interval, "ndcg@20": interval} if users else {})


def knocked(label: str, modality: str, how: str, difference: float, separated: bool) -> dict[str, Any]:
    return {
        "label": label,
        "modality": modality,
        "how": how,
        "metric": "recall@20",
        "with": 0.3,
        "without": 0.3 - difference,
        "seeds": 5,
        "difference": {"mean": difference, "low": difference - 0.01, "high": difference + 0.01},
        "corrected": {"mean": difference, "low": difference - 0.02, "high": difference + 0.02},
        "p": 0.01,
        "corrected_p": 0.02 if separated else 0.7,
        "separated": separated,
    }


FEW = {
    "popularity": Entrant(0.1, title="Popularity"),
    "ease": Entrant(0.1004, title="EASE"),
    "bm3": Entrant(0.3, title="BM3", features=("image", "text"), epochs=20),
    "worst": Entrant(0.05, title="Worst", epochs=100),
}
