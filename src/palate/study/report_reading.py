"""What a comparison says, in sentences that follow from its figures: who is ahead, who beats Popularity, what features
brought, what it cost, and what to be careful with.

A sentence says that one model is better only where the two are separated.
"""

from __future__ import annotations

from dataclasses import dataclass

from palate.core.progress import duration
from palate.study.findings import FIRST, THIN_USERS, Findings, KnockOut, PairFound
from palate.study.report_words import WAYS, figure, listed, metric_name, seconds, slice_name
from palate.study.results import COMPARED

# As many pairs are named; of more, only the number is.
NAMED_PAIRS = 4
SEEDS = 5


@dataclass(frozen=True)
class Passage:
    """A heading and its sentences, plain text."""

    title: str
    lines: tuple[str, ...]


def reading(found: Findings) -> tuple[Passage, ...]:
    """The passages that apply to these findings, each with something to say."""
    passages = (
        Passage("Who is ahead", tuple(_ahead(found))),
        Passage("Against Popularity", tuple(_against_baseline(found))),
        Passage("What features brought", tuple(_features(found))),
        Passage("What it cost", tuple(_cost(found))),
        Passage("Handle with care", tuple(_care(found))),
    )
    return tuple(passage for passage in passages if passage.lines)


def _ahead(found: Findings) -> list[str]:
    separation = found.separation[FIRST]
    first = separation.order[0]
    if len(separation.order) == 1:
        measure = found.models[first].metrics[FIRST]
        return [
            f"{found.name(first)} is alone here, so there is nothing to compare it with. Its {metric_name(FIRST)} is "
            f"{figure(measure.mean)} ({figure(measure.low)} to {figure(measure.high)})."
        ]
    runner_up = separation.pairs[0]
    lines = [_first_place(found, FIRST, runner_up)]
    if separation.winner is not None and separation.level_with_best:
        others = listed([found.name(label) for label in separation.level_with_best])
        lines.append(f"It is not separated from {others}, though: there the differences vary more between users.")
    spread = max(
        (found.models[label].metrics[FIRST].over_seeds or 0.0) for label in (runner_up.first, runner_up.second)
    )
    if separation.winner is not None and abs(runner_up.difference.mean) < 2 * spread:
        lines.append(
            f"That difference is less than twice the seeds' spread ({figure(spread)}), so another set of seeds might "
            "turn it round: the test is about users, not about training."
        )
    lines += _other_metrics(found)
    apart = sum(pair.separated for pair in separation.pairs)
    level = [pair for pair in separation.pairs if not pair.separated]
    if len(separation.pairs) > 1:
        counted = f"Of the {len(separation.pairs)} pairs of models, {apart} are separated on {metric_name(FIRST)}"
        named = "; ".join(f"{found.name(pair.first)} and {found.name(pair.second)}" for pair in level)
        lines.append(f"{counted}; not separated: {named}." if 0 < len(level) <= NAMED_PAIRS else f"{counted}.")
    return lines


def _first_place(found: Findings, metric: str, runner_up: PairFound) -> str:
    first, second = found.name(runner_up.first), found.name(runner_up.second)
    values = [figure(found.models[label].metrics[metric].mean) for label in (runner_up.first, runner_up.second)]
    gap = (
        f"the difference is {figure(runner_up.difference.mean)}, corrected interval {figure(runner_up.corrected.low)} "
        f"to {figure(runner_up.corrected.high)}"
    )
    if runner_up.separated:
        return (
            f"{first} is ahead on {metric_name(metric)}: {values[0]}, and {values[1]} for the runner-up {second} "
            f"({gap}). {runner_up.better:.0%} of the users are served better by {first}, {runner_up.worse:.0%} by "
            f"{second}, the rest equally."
        )
    level = [found.name(label) for label in found.separation[metric].level_with_best]
    return (
        f"Nobody wins on {metric_name(metric)}: {first} has the highest mean, {values[0]}, but is not separated from "
        f"{listed(level)} (runner-up {second}, {values[1]}; {gap})."
    )


def _other_metrics(found: Findings) -> list[str]:
    leader = found.separation[FIRST].winner
    same = [metric for metric in COMPARED[1:] if leader and found.separation[metric].winner == leader]
    level: list[str] = []
    lines = [f"It is ahead on {listed([metric_name(metric) for metric in same])} too."] if same else []
    for metric in COMPARED[1:]:
        separation = found.separation[metric]
        if separation.winner is None:
            level.append(f"{metric_name(metric)} ({found.name(separation.order[0])} and {_level(found, metric)})")
        elif metric not in same:
            lines.append(f"On {metric_name(metric)}, {found.name(separation.winner)} is ahead of its runner-up.")
    return [*lines, f"The first place is not separated on {listed(level)}."] if level else lines


def _level(found: Findings, metric: str) -> str:
    names = [found.name(label) for label in found.separation[metric].level_with_best]
    return listed(names) if len(names) <= 2 else f"{len(names)} others"


def _against_baseline(found: Findings) -> list[str]:
    baseline = found.baseline
    if baseline is None:
        return ["Popularity did not take part, so nothing here shows that a model has learnt more than what sells."]
    lines: list[str] = []
    before: list[set[str]] = []
    for metric in (FIRST, COMPARED[1]):
        better, level, worse = _sides(found, metric, baseline)
        groups = [set(better), set(level), set(worse)]
        if groups == before or not any(groups):
            continue
        said = [
            f"{said}: {listed([found.name(label) for label in names])}"
            for said, names in (("Better", better), ("not separated from it", level), ("worse", worse))
            if names
        ]
        text = "; ".join(said)
        lines.append(f"{metric_name(metric)}. {text[:1].upper()}{text[1:]}.")
        before = groups
    canary = next((label for label, model in found.models.items() if model.model == "indexorder"), None)
    pair = found.separation[FIRST].pair(canary, baseline) if canary else None
    if pair is not None and pair.separated and pair.first == canary:
        lines.append(
            f"Warning: {found.name(pair.first)}, which knows nothing but the order of the items' ids, beats "
            "Popularity. These data leak; do not trust any figure here before that is mended."
        )
    return lines


def _sides(found: Findings, metric: str, baseline: str) -> tuple[list[str], list[str], list[str]]:
    """Who is better than the baseline, not separated from it, worse."""
    better: list[str] = []
    level: list[str] = []
    worse: list[str] = []
    for label in found.separation[metric].order:
        pair = found.separation[metric].pair(label, baseline)
        if pair is not None:
            (level if not pair.separated else better if pair.first == label else worse).append(label)
    return better, level, worse


def _features(found: Findings) -> list[str]:
    order = found.separation[FIRST].order
    using = [label for label in order if found.models[label].features]
    without = [label for label in order if not found.models[label].features]
    lines: list[str] = []
    if using and without:
        one, other = using[0], without[0]
        pair = found.separation[FIRST].pair(one, other)
        values = [figure(found.models[label].metrics[FIRST].mean) for label in (one, other)]
        verdict = "the two are not separated"
        if pair is not None and pair.separated:
            verdict = f"{found.name(pair.first)} is ahead, and the two are separated"
        lines.append(
            f"The best model that uses features is {found.name(one)} ({metric_name(FIRST)} {values[0]}), the best that "
            f"does not is {found.name(other)} ({values[1]}): {verdict}."
        )
    if using and not found.knock_out:
        lines.append("No modality was knocked out, so nothing here says what each of them brought (--knock-out does).")
    for modality in dict.fromkeys(entry.modality for entry in found.knock_out):
        lines += _modality(found, modality)
    return lines


def _modality(found: Findings, modality: str) -> list[str]:
    entries = [entry for entry in found.knock_out if entry.modality == modality]
    lines = [_way(found, how, chosen) for how in WAYS if (chosen := [entry for entry in entries if entry.how == how])]
    # Left out is what a person would do without; for a model's only modality, wrong rows must stand in for that.
    spared = {entry.label for entry in entries if entry.how == "absent"}
    losing = [entry for entry in entries if entry.separated and entry.difference.mean > 0]
    gained = [entry.label for entry in losing if entry.how == ("absent" if entry.label in spared else "shuffled")]
    harmed = [entry.label for entry in losing if entry.how == "noise" and entry.label not in gained]
    said = f"no model is shown to gain from {modality}."
    if gained:
        said = f"{modality} helped {listed([found.name(label) for label in gained])}."
    # That a model does worse without a modality at all does not show that it matters which item has which rows.
    dealt = {entry.label: entry.separated and entry.difference.mean > 0 for entry in entries if entry.how == "shuffled"}
    unshown = [label for label in gained if dealt.get(label) is False]
    if unshown:
        names = listed([found.name(label) for label in unshown])
        lines.append(f"That the rows are the right items' own is not shown to matter to {names}.")
    if harmed:
        names = listed([found.name(label) for label in harmed])
        lines.append(f"Noise in its place costs {names}, but that is what noise does, not what {modality} brings.")
    return [f"{said[:1].upper()}{said[1:]} {' '.join(lines)}"]


def _way(found: Findings, how: str, entries: list[KnockOut]) -> str:
    lower = [entry for entry in entries if entry.separated and entry.difference.mean > 0]
    higher = [entry for entry in entries if entry.separated and entry.difference.mean < 0]
    level = [found.name(entry.label) for entry in entries if not entry.separated]
    parts = [
        *(f"{found.name(entry.label)} loses {figure(entry.difference.mean)}" for entry in lower),
        *(f"{found.name(entry.label)} gains {figure(-entry.difference.mean)}" for entry in higher),
    ]
    if level:
        parts.append(
            f"no separated change for {listed(level) if len(level) <= NAMED_PAIRS else f'{len(level)} models'}"
        )
    said = WAYS.get(how, how)
    return f"{said[:1].upper()}{said[1:]}: {', '.join(parts)}."


def _cost(found: Findings) -> list[str]:
    spent = {label: model.cost.seconds for label, model in found.models.items() if model.cost.seconds is not None}
    if len(spent) < 2:
        return []
    quick, slow = min(spent, key=spent.__getitem__), max(spent, key=spent.__getitem__)
    lines = [
        f"One training took from {_took(spent[quick])} ({found.name(quick)}) to {_took(spent[slow])} "
        f"({found.name(slow)})."
    ]
    separation = found.separation[FIRST]
    level = [label for label in (separation.order[0], *separation.level_with_best) if label in spent]
    if len(level) > 1:
        cheap = min(level, key=spent.__getitem__)
        lines.append(
            f"Of the {len(level)} models that share the first place, {found.name(cheap)} is the quickest to train: "
            f"{_took(spent[cheap])}."
        )
    return lines


def _care(found: Findings) -> list[str]:
    plan = found.plan
    trained = [label for label, model in found.models.items() if model.trained]
    lines: list[str] = []
    if found.failed:
        lines.append(f"{_runs(len(found.failed))} failed and took no part; the list is below.")
    if found.unfinished:
        lines.append(f"Not finished, and in no table: {listed(found.unfinished)}.")
    short = [label for label in trained if found.models[label].seeds < plan.seeds]
    if short:
        names = listed([f"{found.name(label)} ({found.models[label].seeds})" for label in short])
        lines.append(f"Fewer than the {plan.seeds} seeds that were planned: {names}.")
    if trained and plan.seeds == 1:
        lines.append("One seed: nothing here tells how much a second training would differ.")
    elif trained and plan.seeds < SEEDS:
        lines.append(f"{plan.seeds} seeds tell little about how much training varies; {SEEDS} or more are usual.")
    if plan.trials:
        lines.append(f"Each model with something to tune had {plan.trials} trials on the validation part first.")
    else:
        lines.append(
            "Nothing was tuned for this comparison: settings come from recipe files, which may have had searches of "
            "unequal size before, or are defaults."
        )
    limited = [found.name(label) for label in trained if found.models[label].hit_the_limit]
    if limited:
        lines.append(f"Trained up to the limit of epochs, so that longer might do better: {listed(limited)}.")
    if found.test_users < THIN_USERS:
        lines.append(f"Only {found.test_users} test users: all figures are thin.")
    left_out = found.separation[FIRST].left_out
    if left_out:
        lines.append(f"{left_out:,} users lack a value in some model and were left out of the tests.")
    parts = next(iter(found.models.values())).slices
    thin = [
        f"{slice_name(name, part.kind)} ({part.users})" for name, part in parts.items() if 0 < part.users < THIN_USERS
    ]
    if thin:
        lines.append(f"Thin slices, by number of users: {listed(thin)}.")
    return lines


def _took(spent: float) -> str:
    return f"{seconds(spent)} s" if spent < 60 else duration(spent)


def _runs(count: int) -> str:
    return f"{count} run{'' if count == 1 else 's'}"
