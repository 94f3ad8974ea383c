"""The trials of a search: what is searched, and the database that its processes share.

The database survives a kill; trials that were under way are tried again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.core.errors import ArtefactError, ConfigError, MissingDependency
from palate.core.search import LEARNING_RATE, Choice, Range, Space
from palate.models import Recommender
from palate.recipe import recipe_for, resolve
from palate.study.data_plan import DataPlan

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

DATABASE, NAME = "trials.db", "tuning"
# Processes wait for each other's writes.
_PATIENT: dict[str, Any] = {"connect_args": {"timeout": 60}}


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        model, preset, settings: the start: a model, its preset and what is set and stays so.
        space: the settings that are tried.
        data: the data set.
        metric: validation metric to maximise.
        seed: of training and of the search.
    """

    model: str
    preset: str
    settings: dict[str, Any]
    space: Space
    data: DataPlan
    metric: str
    seed: int

    def identity(self, fingerprint: str) -> str:
        """Equal for searches whose trials may be put together."""
        return json.dumps({**asdict(self), "data": fingerprint}, sort_keys=True, default=str)


def search_for(
    model: str,
    data: DataPlan,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    metric: str = "recall@20",
    seed: int = 0,
) -> Search:
    """The search that belongs to a model: its declared space, without what `settings` pins.

    Raises:
        ConfigError: for unknown names, or a model without anything to tune.
    """
    chosen = recipe_for(model)
    pinned = dict(settings or {})
    kind, _, _ = resolve(chosen.model, preset or chosen.preset, {**chosen.settings, **pinned})
    whole: dict[str, Choice | Range] = dict(kind.search)
    if issubclass(kind, Recommender):
        whole = {"learning_rate": LEARNING_RATE, **whole}
    space = {name: values for name, values in whole.items() if name not in pinned}
    if not space:
        raise ConfigError(
            f"{chosen.model} has nothing to tune" + (" that is not set already" if whole else ""),
            do=f"leave one of these open: {', '.join(whole)}" if whole else "train it as it is",
        )
    return Search(chosen.model, preset or chosen.preset, {**chosen.settings, **pinned}, space, data, metric, seed)


def require_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise MissingDependency("tuning needs Optuna", do="install it with: pip install 'palate[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return optuna


def storage_of(out: Path) -> optuna.storages.RDBStorage:
    """The database of the folder `out`."""
    import optuna

    return optuna.storages.RDBStorage(f"sqlite:///{(out / DATABASE).resolve()}", engine_kwargs=_PATIENT)


def open_study(out: Path, search: Search, fingerprint: str) -> optuna.Study:
    library = require_optuna()
    identity = search.identity(fingerprint)
    storage = storage_of(out)
    study: optuna.Study = library.create_study(
        study_name=NAME, storage=storage, direction="maximize", load_if_exists=True
    )
    before = study.user_attrs.get("identity")
    if before is None:
        study.set_user_attr("identity", identity)
        study.enqueue_trial({name: value for name, value in _start(search).items() if search.space[name].holds(value)})
    elif before != identity:
        raise ArtefactError(
            "another search is here: its model, settings, space, data or seed differ",
            where=str(out),
            do="choose another folder (-o)",
        )
    return study


def _start(search: Search) -> dict[str, Any]:
    """The values that the searched settings have at the start."""
    _, config, training = resolve(search.model, search.preset, search.settings)
    known = {**training.model_dump(), **config.model_dump()}
    return {name: known[name] for name in search.space}


def requeue(study: optuna.Study) -> None:
    """Trials that a killed process left half done are tried again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params, skip_if_exists=False)


def counted(study: optuna.Study) -> list[FrozenTrial]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def best_note(study: optuna.Study) -> str:
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = max((trial.value for trial in finished if trial.value is not None), default=None)
    return "" if best is None else f"best {best:.4f}"
