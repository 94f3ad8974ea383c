"""Commands that look at features before training: probe zero-shot, item-cf, mask-modality."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from palate.cli.application import DataOption, JsonOption, QuietOption, SettingsOption, app
from palate.cli.splitting import FeaturesOption, PositiveOption, SplitOption, SplitSeedOption, plan_of
from palate.core.errors import ConfigError

if TYPE_CHECKING:
    from palate.dataset.dataset import Dataset
    from palate.study.probes import ProbeResult

probe_app = typer.Typer(no_args_is_help=True, help="What features say of taste before training: AlignRec's protocols.")
app.add_typer(probe_app, name="probe")
PartOption = Annotated[str, typer.Option(help="valid (to choose features by) or test (to report).")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of ties, and of the items that are hidden.")]


def _load(data: Path, features: str | None, split: str | None, split_seed: int | None, positive: str | None) -> Dataset:
    from palate.recipe import RecipeFile

    given: dict[str, Any] = {"split": split, "seed": split_seed}
    recipe = RecipeFile(model="popularity")
    return plan_of(data, recipe, features=features, positive=positive, impute=None, **given).load()


def _say(found: ProbeResult, as_json: bool) -> None:
    print(json.dumps(found.as_dict(), indent=2) if as_json else found.text())


@probe_app.command("zero-shot")
def probe_zero_shot(
    data: DataOption,
    features: FeaturesOption = None,
    part: PartOption = "valid",
    seed: SeedOption = 0,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank by cosine to the mean of a user's history, with no training."""
    from palate.study.probes import zero_shot

    dataset = _load(data, features, split, split_seed, positive)
    _say(zero_shot(dataset, part=cast("Any", part), seed=seed), as_json)


@probe_app.command("item-cf")
def probe_item_cf(
    data: DataOption,
    features: FeaturesOption = None,
    target: Annotated[str, typer.Option(help="neighbours (overlap) or recommendation.")] = "neighbours",
    k: Annotated[int | None, typer.Option(min=1, help="Neighbours of an item; default: 10, or 100.")] = None,
    part: PartOption = "valid",
    seed: SeedOption = 0,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare neighbours by content with neighbours by behaviour, or recommend by them."""
    from palate.study.probes import item_cf

    dataset = _load(data, features, split, split_seed, positive)
    _say(item_cf(dataset, target=cast("Any", target), k=k, part=cast("Any", part), seed=seed), as_json)


@probe_app.command("mask-modality")
def probe_mask_modality(
    data: DataOption,
    hide: Annotated[str, typer.Option(help="Modality to hide.", show_default=False)],
    features: FeaturesOption = None,
    share: Annotated[float, typer.Option(help="Share of the items that have it.")] = 0.5,
    encoder: Annotated[Path | None, typer.Option(help="Folder of the encoder that made joint features.")] = None,
    model: Annotated[str | None, typer.Option(help="Train this model too, before and after.")] = None,
    settings: SettingsOption = None,
    part: PartOption = "valid",
    seed: SeedOption = 0,
    split: SplitOption = None,
    split_seed: SplitSeedOption = None,
    positive: PositiveOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Hide a modality for a share of the items, and tell what zero-shot, item-CF and a training lose."""
    from palate.core.config import read_assignments
    from palate.study.probes import mask_modality

    if settings and model is None:
        raise ConfigError("--set goes with --model", do="name the model that is trained, for example --model bm3")
    found = mask_modality(
        _load(data, features, split, split_seed, positive),
        hide=hide,
        share=share,
        part=cast("Any", part),
        seed=seed,
        encoder=encoder,
        model=model,
        settings=read_assignments(settings or []),
        quiet=quiet,
    )
    _say(found, as_json)
