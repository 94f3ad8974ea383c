"""The trials of a search: what is searched, and the database that its processes share.

The database survives a kill; trials that were under way are tried again.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palate.core.errors import ArtefactError, ConfigError, MissingDependency, unknown_name
from palate.core.extensions import code_of
from palate.core.search import LEARNING_RATE, Choice, Range, Space
from palate.core.sources import place_of
from palate.measure.metrics import METRICS
from palate.models import MODELS, Model, Recommender
from palate.recipe import recipe_for, resolve
from palate.study.data_plan import DataPlan

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

DATABASE, STUDY_NAME = "trials.db", "tuning"
# Seconds that processes wait for each other's writes.
WRITE_PATIENCE = 60


@dataclass(frozen=True)
class Search:
    """What is searched.

    Attributes:
        model, preset, settings: the start: a model, its preset and what is set over it; all but the space stays so.
        space: the settings that are tried; each one's space holds its value at the start.
        kept: what would be tried too, had its value at the start, which it keeps, not been outside its space.
        data: the data set.
        metric: validation metric to maximise.
        seed: of training and of the search.
    """

    model: str
    preset: str
    settings: dict[str, Any]
    space: Space
    kept: dict[str, Any]
    data: DataPlan
    metric: str
    seed: int

    def identity(self, fingerprint: str) -> str:
        """Equal for searches whose trials may be put together.

        Args:
            fingerprint: of the data set, as the model sees it.
        """
        return self._identity(fingerprint, code_of(MODELS[self.model]))

    def is_of(self, identity: str, fingerprint: str) -> bool:
        """Whether trials of that identity are of this search; those of before there was the code in it are, too."""
        return identity in (self.identity(fingerprint), self._identity(fingerprint, None))

    def _identity(self, fingerprint: str, code: str | None) -> str:
        own = {} if code is None else {"code": code}
        return json.dumps({**asdict(self), "data": fingerprint, **own}, sort_keys=True, default=str)


def search_for(
    model: str,
    data: DataPlan,
    *,
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    metric: str | None = None,
    seed: int = 0,
) -> Search:
    """The search that belongs to a model: its declared space, without what `settings` pins.

    What starts outside its declared space stays as it is, since a search that could not come back to the start might
    end below it.

    Args:
        model: a model's name or a recipe file.
        metric: to maximise on the validation part; None takes that of the settings.

    Raises:
        ConfigError: for unknown names, or a model without anything to tune.
    """
    chosen = recipe_for(model)
    pinned = dict(settings or {})
    start = {**chosen.settings, **pinned}
    kind, config, training = resolve(chosen.model, preset or chosen.preset, start)
    metric = metric or training.metric
    if metric not in METRICS:
        raise ConfigError(unknown_name("validation metric", metric, METRICS), do=f"choose one of {', '.join(METRICS)}")
    start.pop("metric", None)
    whole: dict[str, Choice | Range] = dict(kind.search)
    if issubclass(kind, Recommender):
        whole = {"learning_rate": LEARNING_RATE, **whole}
    known = {**training.model_dump(), **config.model_dump()}
    _check_space(chosen.model, kind, whole, known)
    kept = {name: known[name] for name, values in whole.items() if name not in pinned and not values.holds(known[name])}
    space = {name: values for name, values in whole.items() if name not in pinned and name not in kept}
    if not space:
        raise ConfigError(
            f"{chosen.model} has nothing to tune" + (" that is not set already" if whole else ""),
            do=f"leave one of these open: {', '.join(whole)}" if whole else "train it as it is",
        )
    return Search(chosen.model, preset or chosen.preset, start, space, kept, data, metric, seed)


def _check_space(model: str, kind: type[Model], space: Space, known: Mapping[str, Any]) -> None:
    """Refuse a space of settings that do not exist, or of values that they do not take."""
    for name, values in space.items():
        if name not in known:
            what = f"what tuning tries of {model} is an {unknown_name('setting', name, known)}"
            raise ConfigError(what, where=place_of(kind), do=f"valid settings: {', '.join(known)}")
        if isinstance(values, Range) and not (0 if values.log else -math.inf) < values.low <= values.high:
            what = f"the range of '{name}' goes from {values.low:g} to {values.high:g}"
            raise ConfigError(what, where=place_of(kind), do="give the lower end first; on a logarithmic scale above 0")
        if isinstance(values, Range) and not values.whole and type(known[name]) is int:
            what = f"'{name}' takes whole numbers, and its range has others"
            raise ConfigError(
                what, where=place_of(kind), do=f"write Range({values.low:g}, {values.high:g}, whole=True)"
            )


def require_optuna() -> Any:
    """Optuna, told to be quiet.

    Raises:
        MissingDependency: when it is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise MissingDependency("tuning needs Optuna", do="install it with: pip install 'palate[tune]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    return optuna


@contextmanager
def damage_named(out: Path) -> Generator[None, None, None]:
    """Errors of the database of the folder `out` become ArtefactErrors."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ArtefactError(
            f"the trials cannot be read or written: {reason}",
            where=str(out / DATABASE),
            do="restore the file from a copy, or remove it to begin again",
        ) from None


def storage_of(out: Path) -> optuna.storages.RDBStorage:
    """The database of the folder `out`; made when missing."""
    import optuna
    from sqlalchemy import URL

    place = URL.create("sqlite", database=str((out / DATABASE).resolve()))
    return optuna.storages.RDBStorage(
        place.render_as_string(hide_password=False), engine_kwargs={"connect_args": {"timeout": WRITE_PATIENCE}}
    )


def open_study(out: Path, search: Search, fingerprint: str) -> optuna.Study:
    """The trials of `search` in the folder `out`, the start queued as the first; it must not be open elsewhere.

    Another search of which no trial was finished makes way: it leaves nothing to lose.

    Args:
        fingerprint: of the data set, as the model sees it.

    Raises:
        ArtefactError: when trials of another search are here.
        MissingDependency: without Optuna.
    """
    library = require_optuna()
    identity = search.identity(fingerprint)
    study = _study(library, out)
    if not search.is_of(study.user_attrs.get("identity", identity), fingerprint):
        if counted(study):
            raise ArtefactError(
                "another search is here: its model (or that model's code), settings, space, data or seed differ",
                where=str(out),
                do="choose another folder (-o)",
            )
        library.delete_study(study_name=STUDY_NAME, storage=storage_of(out))
        study = _study(library, out)
    if "identity" not in study.user_attrs:
        # In this order a kill in between leaves a study that is set up again, not one without its start.
        study.enqueue_trial(_start(search), skip_if_exists=True)
        study.set_user_attr("identity", identity)
    return study


def _study(library: Any, out: Path) -> optuna.Study:
    return library.create_study(
        study_name=STUDY_NAME, storage=storage_of(out), direction="maximize", load_if_exists=True
    )


def _start(search: Search) -> dict[str, Any]:
    """The values that the searched settings have at the start."""
    _, config, training = resolve(search.model, search.preset, search.settings)
    known = {**training.model_dump(), **config.model_dump()}
    return {name: known[name] for name in search.space}


def requeue(study: optuna.Study) -> None:
    """Trials that a killed process left half done are tried again; no living process may be at work on the study."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        # A trial that was queued has its values before it has asked for them.
        wanted = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
        if wanted:
            study.enqueue_trial(wanted, skip_if_exists=False)
        study.tell(trial.number, state=TrialState.FAIL)


def counted(study: optuna.Study, *, running: bool = False) -> list[FrozenTrial]:
    """The trials that count towards those asked for: finished and pruned ones.

    Args:
        running: those under way too.
    """
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED, *((TrialState.RUNNING,) if running else ()))
    return study.get_trials(deepcopy=False, states=states)


def best_note(study: optuna.Study) -> str:
    """The best value so far, for the progress line; empty before the first."""
    from optuna.trial import TrialState

    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = max((trial.value for trial in finished if trial.value is not None), default=None)
    return "" if best is None else f"best {best:.4f}"


def suggest(trial: optuna.Trial, name: str, values: Choice | Range) -> Any:
    """What the trial takes for the setting `name`."""
    if isinstance(values, Choice):
        return trial.suggest_categorical(name, values.values)
    if values.whole:
        return trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


def table(study: optuna.Study) -> list[dict[str, Any]]:
    """The trials that have ended, as plain values: number, state, value, settings and what was noted of them."""
    from optuna.trial import TrialState

    return [
        {
            "number": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "settings": trial.params,
            **{key: trial.user_attrs[key] for key in ("problem", "validation", "training") if key in trial.user_attrs},
        }
        for trial in study.get_trials(deepcopy=False)
        if trial.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
    ]
