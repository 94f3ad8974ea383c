"""The click protocol of CRMMAN: AUC and NDCG@5/@10 of a user's own test rows among a few unseen items.

The paper (Hu et al., Applied Soft Computing 2023) names the metrics but not the candidates, and has no public code.
The definition here is this project's own:

- A user's candidates are all of the user's test rows, labelled positive or not (a row that is no positive is a known
  disliked or lukewarm item: the hard negatives), and for each positive R items that the user has met in no part of
  the data, drawn once, without replacement, by seed. Every system is given the same candidates.
- Users without a positive, or without any other candidate, are not counted.
- AUC is the share of (positive, other) pairs in which the positive scores higher; equal scores count half.
- NDCG is binary, over the candidates alone; equal scores are put into a seeded random order, never that of ids.

Figures depend on R and are no match for those of the full ranking, beside which they stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from palate.core.seeds import derive_seed
from palate.graph.rows import IntArray, Rows, contains
from palate.graph.ties import Priorities
from palate.measure.metrics import Accuracy, Values, accuracy
from palate.measure.ranking import BLOCK_BYTES, Masking, refuse_nan
from palate.models.base import Scorer

CLICK_CUTS = (5, 10)
# As in training.
NEGATIVES = 4


@dataclass(frozen=True, eq=False)
class Candidates:
    """What each counted user is asked about.

    Attributes:
        users: int64, n row numbers.
        items: n rows of candidate items, row r those of users[r].
        positive: bool, one for each entry of `items`.
        left_out: users with a test row that are not counted, for want of a positive or of anything else.
    """

    users: IntArray
    items: Rows
    positive: NDArray[np.bool_]
    left_out: int


def click_candidates(
    seen: Rows, positives: Rows, known: Masking, *, negatives: int = NEGATIVES, seed: int = 0
) -> Candidates:
    """The candidates of every user, the same for all systems.

    Args:
        seen: U rows of all test items, whatever their rating.
        positives: U rows of positive test items, each of them in `seen`.
        known: U rows of every item a user has met in any part.
        negatives: unseen items for each positive, R; fewer where a user has met nearly all items.
        seed: of the draw.
    """
    asked = np.flatnonzero(positives.lengths)
    unseen = _unseen(asked, positives.lengths[asked] * negatives, known, positives.width, seed)
    own = seen.take(asked)
    label = contains(positives.take(asked).keys(), own.row_of_entry() * own.width + own.columns)
    joined = own.union(unseen)
    # Entries of a row: the user's own first, then the unseen ones.
    order = np.argsort(np.concatenate([own.row_of_entry(), unseen.row_of_entry()]), kind="stable")
    positive = np.concatenate([label, np.zeros(unseen.size, dtype=np.bool_)])[order]
    hits = np.bincount(joined.row_of_entry()[positive], minlength=joined.count)
    counted = (hits > 0) & (hits < joined.lengths)
    left_out = int((seen.lengths > 0).sum()) - int(counted.sum())
    kept = np.flatnonzero(counted)
    return Candidates(asked[kept], joined.take(kept), positive[counted[joined.row_of_entry()]], left_out)


def click_metrics(
    scorer: Scorer, candidates: Candidates, *, seed: int = 0, cuts: tuple[int, ...] = CLICK_CUTS
) -> Accuracy:
    """AUC and NDCG of each user's candidates: "auc", "click_ndcg@5", "click_ndcg@10".

    Args:
        scorer: scores all items for a block of users.
        candidates: of `click_candidates`.
        seed: of the tie-breaking.
        cuts: list lengths of NDCG.

    Raises:
        TrainingError: when a score is NaN.
    """
    size = max(1, BLOCK_BYTES // (4 * max(1, scorer.items)))
    priorities = Priorities(scorer.items, seed)
    parts: list[tuple[Values, Values]] = []
    for start in range(0, len(candidates.users), size):
        rows = np.arange(start, min(start + size, len(candidates.users)))
        items = candidates.items.take(rows)
        first = int(candidates.items.pointer[start])
        positive = candidates.positive[first : first + items.size]
        users = candidates.users[rows]
        row, column = items.row_of_entry(), items.columns.astype(np.int64)
        with torch.inference_mode():
            scores = scorer.score_block(torch.from_numpy(users))
            refuse_nan(scores, users)
            place = (torch.from_numpy(row).to(scores.device), torch.from_numpy(column).to(scores.device))
            score = scores[place].double().cpu().numpy()
        chance = priorities.of(users[row], torch.from_numpy(column)[:, None])[:, 0].numpy()
        hit = _ranked(items, positive, score, chance, max(cuts))
        counts = np.bincount(row[positive], minlength=len(rows))
        ndcg = accuracy(hit, counts, cuts)
        parts.append((auc(items.pointer, positive, score), np.stack([ndcg[f"ndcg@{k}"] for k in cuts], 1)))
    names = [f"click_ndcg@{k}" for k in cuts]
    area = np.concatenate([np.zeros(0), *(part[0] for part in parts)])
    gain = np.concatenate([np.zeros((0, len(cuts))), *(part[1] for part in parts)])
    return Accuracy(candidates.users, {"auc": area} | dict(zip(names, gain.T, strict=True)))


def auc(pointer: IntArray, positive: NDArray[np.bool_], scores: Values) -> Values:
    """The area under the ROC curve of each row: with mean ranks r of equal scores, (Σ r_+ - P(P + 1)/2) / (P N).

    That is the share of the P·N pairs in which the positive has the higher score, ties counted half (Hanley & McNeil
    1982).

    Args:
        pointer: row r holds entries pointer[r] to pointer[r + 1]; each row has a positive and another.
        positive: bool, one per entry.
        scores: one per entry.
    """
    lengths = np.diff(pointer)
    row = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((scores, row))
    sorted_row, sorted_score = row[order], scores[order]
    new = np.ones(len(order), dtype=np.bool_)
    new[1:] = (sorted_row[1:] != sorted_row[:-1]) | (sorted_score[1:] != sorted_score[:-1])
    group = np.cumsum(new) - 1
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], len(order))
    rank = ((starts + ends + 1) / 2)[group] - pointer[sorted_row]
    hit = positive[order]
    hits = np.bincount(sorted_row[hit], minlength=len(lengths))
    above = np.bincount(sorted_row[hit], weights=rank[hit], minlength=len(lengths)) - hits * (hits + 1) / 2
    return above / (hits * (lengths - hits))


def _unseen(users: IntArray, wanted: IntArray, known: Masking, items: int, seed: int) -> Rows:
    """For each user so many items that the user has not met: those of the highest random priority."""
    priorities = Priorities(items, derive_seed(seed, "clicks"))
    size = max(1, BLOCK_BYTES // (8 * max(1, items)))
    rows: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    columns: list[IntArray] = [np.zeros(0, dtype=np.int64)]
    for start in range(0, len(users), size):
        block, number = users[start : start + size], wanted[start : start + size]
        met = known.take(block)
        priority = priorities.of(block)
        # A view: what is written here hides the items from the choice below.
        priority.numpy()[met.row_of_entry(), met.columns] = -1
        best = torch.topk(priority, min(items, int(number.max())), dim=1)
        place = np.arange(best.indices.shape[1])
        row, column = np.nonzero((place < number[:, None]) & (best.values.numpy() >= 0))
        rows.append(start + row)
        columns.append(best.indices.numpy()[row, column])
    return Rows.from_pairs(np.concatenate(rows), np.concatenate(columns), len(users), items)


def _ranked(
    items: Rows, positive: NDArray[np.bool_], scores: Values, chance: IntArray, depth: int
) -> NDArray[np.bool_]:
    """Which of the first `depth` candidates of each row are positives, the highest score first."""
    row = items.row_of_entry()
    order = np.lexsort((-chance, -scores, row))
    rank = np.arange(len(order)) - items.pointer[row]
    top = rank < depth
    hit = np.zeros((items.count, depth), dtype=np.bool_)
    hit[row[top], rank[top]] = positive[order][top]
    return hit
