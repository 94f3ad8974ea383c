"""What the figures of a catalogue advise: a split, what a positive is, a k-core, and what to encode."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from palate.dataset.labels import advised, marks_text, option_text, run_far, share_from, usual
from palate.dataset.splits import tied_text

if TYPE_CHECKING:
    from palate.study.describe import Description

# With content for fewer of the items, a modality says nothing about most of them.
MOSTLY = 0.5
# A k-core that takes away more than this is another data set.
CORE_KEEPS = 0.8
FEW = 5


def advise(found: Description, ratings: Mapping[float, int], folder: Path) -> tuple[str, ...]:
    """One sentence for each decision that the user has to take; nothing is advised that the data cannot do.

    Args:
        found: the figures.
        ratings: how often each rating occurs, in no bins.
        folder: where the catalogue is.
    """
    return (_split(found), _positive(ratings), _core(found), *_content(found, folder), *_tail(found))


def _split(found: Description) -> str:
    if found.interactions and sum(found.splits.values()) == found.interactions:
        return "split: given, as the data say (the default)"
    if found.interactions and found.times == found.interactions:
        if tied_text(found.tied):
            return f"split: user-time, as far as times tell interactions apart (the default): {tied_text(found.tied)}"
        return "split: user-time, each user's latest interactions are held out (the default)"
    return "split: random; there are no times, so nothing better can be had (the default)"


def _positive(ratings: Mapping[float, int]) -> str:
    if not ratings:
        return "positives: every interaction, as there are no ratings (the default)"
    greatest = max(ratings)
    if usual(pl.Series(list(ratings))):
        disliked = sum(count for rating, count in ratings.items() if rating <= 2)
        return (
            f"positives: ratings from 4 ({share_from(ratings, 4):.0%} of them; the default); "
            f"dislikes: ratings up to 2 ({disliked:,})"
        )
    if len(ratings) == 1:
        return f"positives: every interaction, as all ratings are {greatest:g}; say --positive all"
    example = option_text(ratings, next(word for word in advised(ratings) if word != "all"))
    if run_far(ratings):
        return (
            f"positives: say what they are: --positive all, or {example}; "
            f"ratings run to {greatest:,.12g}, as counts do and no scale does"
        )
    unclear = marks_text(ratings)
    apart = f"; {unclear} may say 'not rated'" if unclear else ""
    return (
        f"positives: say what they are, for example {example}; ratings run to {greatest:,.12g}{apart}; "
        "no dislikes unless --dislike says so"
    )


def _core(found: Description) -> str:
    kept, users, items = found.core
    if kept == found.interactions and items == found.items:
        return f"k-core: none is needed; all users and items have {FEW} interactions at least"
    share = kept / max(found.interactions, 1)
    loss = f"a {FEW}-core keeps {share:.0%} of the interactions, {users:,} users and {items:,} items"
    if share >= CORE_KEEPS:
        return f"k-core: {loss}; import with --min-user {FEW} --min-item {FEW} to compare with published tables"
    return f"k-core: better none: {loss}"


def _content(found: Description, folder: Path) -> list[str]:
    advice: list[str] = []
    for part in found.coverage:
        if not part.content:
            continue
        share = part.any_content / max(found.items, 1)
        if share < MOSTLY:
            advice.append(f"{part.modality}: mostly missing ({share:.0%} of the items have it)")
        if part.lost:
            advice.append(f"{part.modality}: paths that lead to no file: {part.lost:,}; these items will lack features")
        if part.encoded is not None and part.encoded < part.any_content:
            lost = part.any_content - part.encoded
            advice.append(f"{part.modality}: items with content but no features: {lost:,}; see what encode reports")
    waiting = [part.modality for part in found.coverage if part.content and part.encoded is None]
    if waiting:
        words = "".join(f" --modality {name}" for name in waiting)
        advice.append(
            f"encode what has no features yet ({', '.join(waiting)}): palate encode {shlex.quote(str(folder))}{words}"
        )
    if not found.coverage:
        advice.append("content: none, so only models that learn from interactions alone apply")
    return advice


def _tail(found: Description) -> list[str]:
    advice: list[str] = []
    cold = found.cold_items / max(found.items, 1)
    if cold >= 0.05 and found.coverage:
        advice.append(f"new items: nobody met {cold:.0%} of them; --split cold-items shows what content does for such")
    if found.user_activity.quantiles[2] < FEW:
        advice.append(f"sparse: half of the users have fewer than {FEW} interactions; expect content to matter")
    return advice
