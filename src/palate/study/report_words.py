"""The fixed words of a comparison's report: what metrics, splits and knock-outs are called and mean; number formats."""

from __future__ import annotations

from palate.measure.clicks import NEGATIVES
from palate.measure.popularity import HEAD_SHARE
from palate.study.findings import THIN_USERS, DataFound, Findings

NAMES = {
    "recall": "Recall",
    "ndcg": "NDCG",
    "precision": "Precision",
    "map": "MAP",
    "mrr": "MRR",
    "hit": "Hit",
    "auc": "AUC",
    "click_ndcg": "Click NDCG",
    "arp": "ARP",
    "aplt": "APLT",
    "novelty": "Novelty",
    "coverage": "Coverage",
    "gini": "Gini",
}
SPLITS = {
    "random": "about a random tenth of each user's interactions for validation and another for test",
    "user-time": "about the latest fifth of each user's interactions held out, the earlier half of it for validation",
    "time": "one timeline for all: what came last is held out, whoever it belongs to",
    "latest": "each user's last interaction for test, the one before for validation",
    "cold-items": "a share of the items has no train interaction at all",
    "given": "as the data say",
}
WAYS = {"absent": "left out", "noise": "replaced by noise", "shuffled": "dealt out to the wrong items"}
USERS = {
    "new": "new users",
    "few": "users with few train items",
    "some": "users with some train items",
    "many": "users with many train items",
}
# In the order of the report's tables.
ACCURACY = ("recall", "ndcg", "precision", "map", "mrr", "hit")
NOTHING = "–"
# Letters of a model's name where there is little room; the tables have all of it.
NAME = 24

DEFINITIONS: tuple[tuple[str, str], ...] = (
    (
        "Candidates",
        "Every model ranks all items for each test user, without those of the user's train and validation part. Equal "
        "scores are put in a seeded random order. Users without a positive in the test part are not counted.",
    ),
    ("Recall@k", "the share of a user's held-out positives that are among the first k."),
    (
        "NDCG@k",
        "hits among the first k, each worth 1 / log2(rank + 1), over the same for the best possible list.",
    ),
    (
        "Precision@k, Hit@k",
        "the share of the first k that are hits; 1 for a user with a hit among the first k, else 0.",
    ),
    (
        "MAP@k",
        "precision at the rank of each hit, summed, over min(k, number of positives). Other tools divide by the number "
        "of positives.",
    ),
    ("MRR@k", "1 / rank of the first hit, 0 without one among the first k."),
    (
        "AUC, Click NDCG@k",
        f"the click protocol: a user's own test rows, liked or not, among {NEGATIVES} items per positive that the user "
        "never met. Its figures are no match for those of the full ranking.",
    ),
    (
        "Coverage, Gini",
        "the share of all items that are in somebody's list; how unevenly the lists share them out, from 0 (equally) "
        "to 1 (one item takes all).",
    ),
    (
        "ARP, APLT, Novelty",
        "the mean number of positive train interactions of the recommended items; the share of them outside the most "
        f"popular items that hold {HEAD_SHARE:.0%} of the train interactions; the mean of −log2 of the share of "
        "users who took them.",
    ),
    ("ILD", "the mean of 1 − cosine over all pairs within a list, by the features of one modality."),
    (
        "Interval",
        "95 %, by drawing the test users again and again (bootstrap), after averaging each user's value over the "
        "seeds. It is about users, not about training: the seeds' spread stands beside it.",
    ),
    (
        "Seeds' spread",
        "the standard deviation of the seeds' means; none where a model has no randomness or one seed was run.",
    ),
    (
        "Separated",
        "two models are separated on a metric only if the paired randomisation test, corrected for all pairs (Holm), "
        "has p at most .05 and the bootstrap interval of the paired difference, at the level of that correction, "
        "excludes zero. Otherwise they are not separated, which does not say that they are equally good. A winner is "
        "marked only where the first is separated from the second.",
    ),
    (
        "Effect",
        "d_z: the mean of the paired differences over their standard deviation.",
    ),
    (
        "Slices",
        "items by popularity in the train part, those without a modality, and users by number of train positives. "
        f"The interval of a slice is about its own users; below {THIN_USERS} users it is called thin, greyed, and not "
        "to be relied on.",
    ),
    (
        "Knock-out",
        "the model trained again with a modality left out, with noise in its place (of the same mean and spread), or "
        "with its rows dealt out to the wrong items; the difference is that of the true rows less that, paired over "
        "users and corrected over all knock-outs.",
    ),
    (
        "Cost",
        "means over seeds, on the machine below and beside whatever else ran there. Memory is the peak of the process; "
        "parameters are those that are trained: closed forms have none, whatever tables they keep.",
    ),
)


def metric_name(metric: str) -> str:
    """`recall@20` as Recall@20, `ild_text@5` as ILD text@5."""
    name, at, cut = metric.partition("@")
    known = NAMES.get(name) or (f"ILD {name.removeprefix('ild_')}" if name.startswith("ild_") else name)
    return f"{known}{at}{cut}"


def figure(value: float | None) -> str:
    """A metric's value: four decimals, or one where it is large."""
    if value is None:
        return NOTHING
    return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return f"{value:+.4f}".replace("-", "−")


def probability(value: float) -> str:
    """A p value: four decimals, never 0."""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def whole(value: float | None) -> str:
    """A count."""
    return NOTHING if value is None else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """A time in seconds, with as many decimals as it deserves."""
    if value is None:
        return NOTHING
    return (
        f"{value:.3f}"
        if value < 0.1
        else f"{value:.2f}"
        if value < 10
        else f"{value:,.1f}"
        if value < 1000
        else whole(value)
    )


def plain(value: object) -> str:
    """A setting as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(part) for part in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} = {plain(part)}" for name, part in value.items()) or "none"
    return str(value)


def listed(names: list[str]) -> str:
    """`A`, `A and B`, `A, B and C`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "none"


def short_names(found: Findings) -> dict[str, str]:
    """Label → a name of at most `NAME` letters, all different."""
    names = {label: shortened(found.name(label), NAME) for label in found.models}
    twice = {name for name in names.values() if list(names.values()).count(name) > 1}
    return {
        label: f"{place + 1} {shortened(name, NAME - 3)}" if name in twice else name
        for place, (label, name) in enumerate(names.items())
    }


def shortened(text: str, most: int) -> str:
    """Text of at most `most` letters in one line; what is left out is in the middle."""
    flat = " ".join(text.split())
    if len(flat) <= most:
        return flat
    front = (most - 1) * 2 // 3
    return f"{flat[:front]}…{flat[len(flat) - (most - 1 - front) :]}"


def slice_name(name: str, kind: str) -> str:
    """`items/no-image` as "items without image", `users/few` as "users with few train items"."""
    part = name.partition("/")[2] or name
    if part.startswith("no-"):
        return f"{kind} without {part.removeprefix('no-')}"
    return f"{part} {kind}" if kind == "items" else USERS.get(part, f"users: {part}")


def data_card(data: DataFound, test_users: int) -> list[tuple[str, str]]:
    """What the data are, in terms and words."""
    settings = data.settings
    split = str(settings.get("split"))
    positive = settings.get("positive")
    card = [
        ("Data", data.name),
        ("Users and items", f"{data.users:,} users, {data.items:,} items, {data.interactions:,} interactions"),
        ("Split", f"{split}: {SPLITS.get(split, split)}; seed {settings.get('seed')}"),
        (
            "Parts",
            f"train {data.train_interactions:,}, validation {data.valid_interactions:,}, test "
            f"{data.test_interactions:,} interactions; of these {data.train_positives:,}, {data.valid_positives:,} and "
            f"{data.test_positives:,} positive",
        ),
        (
            "A positive is",
            "every interaction" if positive in (None, "all") else f"a rating of at least {plain(positive)}",
        ),
        ("Counted test users", f"{test_users:,} of {data.users:,}, those with a positive in the test part"),
    ]
    if settings.get("dislike") is not None and positive not in (None, "all"):
        card.append(("A dislike is", f"a rating of at most {plain(settings['dislike'])}"))
    if settings.get("thin", 1.0) != 1.0:
        card.append(("Thinned", f"{settings['thin']:.0%} of the train interactions were kept"))
    if split == "cold-items":
        card.append(("Cold items", f"{settings['cold_share']:.0%} of the items have no train interaction"))
    for name in data.features:
        lacking, filled = data.missing.get(name, 0), data.imputed.get(name)
        text = (
            f"{lacking:,} of {data.items:,} items lack it ({lacking / data.items:.1%})"
            if lacking
            else "every item has it"
        )
        card.append((f"Features: {name}", text + (f"; filled in: {filled}" if filled else "")))
    if not data.features:
        card.append(("Features", "none"))
    return [*card, ("Fingerprint", data.fingerprint)]
