"""BPR-MF's loss and scores against the formula."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import worlds
from palate.core.seeds import Draws
from palate.models.base import Batch
from palate.models.bpr import BPR, BPRConfig


@given(st.integers(0, 1000))
def test_loss_gradients_and_scores_are_those_of_the_formula(seed: int) -> None:
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = BPR(BPRConfig(dim=4, penalty_weight=0.3), worlds.inputs(np.ones((7, 9), np.int64)))
    user, positive, negative = (torch.from_numpy(generator.integers(0, count, 12)) for count in (7, 9, 9))
    terms = model.loss(Batch(user, positive, negative), Draws(0))
    scores = model.user_id @ model.item_id.T
    expected = -F.logsigmoid(scores[user, positive] - scores[user, negative]).mean()
    tables = (model.user_id[user], model.item_id[positive], model.item_id[negative])
    penalty = 0.3 * sum((rows.square().sum(1) for rows in tables), torch.zeros(12)).mean()
    torch.testing.assert_close(terms["bpr"], expected)
    torch.testing.assert_close(terms["penalty"], penalty)
    parameters = list(model.parameters())
    found = torch.autograd.grad(torch.stack(list(terms.values())).sum(), parameters)
    for gradient, wanted in zip(found, torch.autograd.grad(expected + penalty, parameters), strict=True):
        torch.testing.assert_close(gradient, wanted)
    torch.testing.assert_close(model.embed().score_block(torch.tensor([6, 0, 6])), scores[[6, 0, 6]].detach())


def test_embeddings_are_of_their_moment() -> None:
    model = BPR(BPRConfig(dim=4), worlds.inputs(np.ones((3, 2), np.int64)))
    embeddings = model.embed()
    before = embeddings.user.clone()
    with torch.no_grad():
        model.user_id.add_(1.0)
    assert torch.equal(embeddings.user, before)
