"""Commands that show: models and their settings, and the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palate.cli.application import app
from palate.printing import print_table

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Show this model's settings.")] = None) -> None:
    """List the models, or one model's settings with its presets."""
    from palate.models import MODELS, Recommender
    from palate.train.fitting import TrainConfig

    if name is None:
        for key in MODELS:
            kind = MODELS[key]
            trained = issubclass(kind, Recommender)
            uses = ("trained" if trained else "closed form") + (", uses features" if kind.modal else "")
            presets = "intended, official" if hasattr(kind.Config, "official") else "one preset"
            print(f"{key:<14}{uses:<28}{presets:<22}{kind.source}".rstrip())
        for problem in MODELS.problems.values():
            print(f"{problem.what} ({problem.where})")
        return
    kind = MODELS[name]
    official: Any = getattr(kind.Config, "official", lambda: None)()
    if not kind.Config.model_fields:
        print(f"{name} has no settings")
    for key, field in kind.Config.model_fields.items():
        value = getattr(official, key, field.default)
        print(_described(key, field, "" if value == field.default else f", official {value}"))
    if issubclass(kind, Recommender):
        print("\nTraining:")
        for key, field in TrainConfig.model_fields.items():
            print(_described(key, field))


def _described(name: str, field: FieldInfo, released: str = "") -> str:
    value = "to be set" if field.is_required() else field.get_default(call_default_factory=True)
    return f"{name} = {value}{released}" + (f"\n    {field.description}" if field.description else "")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder of the demonstration.")] = Path("demo"),
    user: Annotated[
        str | None, typer.Option(help="Whose recommendations to show; default: one that the data have.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="A catalogue of yours instead of MovieLens-100K.")] = None,
) -> None:
    """From content to a table of test figures and one user's recommendations: MovieLens-100K, or your catalogue."""
    from palate.demo import run_demo

    run_demo(out, user, data, show_table=print_table, say=print)
