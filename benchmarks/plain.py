"""The models as one would write them first: the forms that Palate's are measured against on the same machine.

    python -m benchmarks.plain [--model "mmgcn official" …] [--steps 8] [--threads N] [--out FILE.json]

What each does is what the field's toolbox is described to do (`benchmarks.reference`): products of uncoalesced COO
matrices and autograd's own backward, all items projected on each step, messages gathered and scattered, all scores of a
contrast at once, torch's Adam as it comes, negatives drawn one by one, Python loops over the hits of an evaluation. The
loss is that of Palate's model, of the same parameters; a test compares value and gradients, without dropout and noise,
which are drawn in other ways. Nothing is slowed down on purpose.

An epoch is so many steps times the median of those that were measured.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.plain_evaluation import evaluation
from benchmarks.processes import ask_models, found_by, guarded, output, positive, write
from benchmarks.world import JOINT, World, baby_shaped
from palate.core.seeds import Draws
from palate.dataset.inputs import ModelInputs
from palate.graph.operator import SparseOperator
from palate.models.base import Batch, Embeddings, Recommender

BATCH, SEED, WARM = 2048, 0, 2


def coo(operator: SparseOperator) -> Tensor:
    """The same matrix as torch takes it from a list of pairs, row by row: not known to hold each pair once."""
    pointer, columns, values = (operator.get_buffer(f"forward_{part}") for part in ("pointer", "columns", "values"))
    row = torch.repeat_interleave(torch.arange(operator.shape[0]), pointer.long().diff())
    index = torch.stack([row, columns.long()])
    return torch.sparse_coo_tensor(index, values, operator.shape, is_coalesced=False, check_invariants=False)


class Plain:
    """A model whose parameters the plain forms use, with its graphs as `coo`.

    Args:
        model: of Palate.
        users: U.
    """

    def __init__(self, model: Recommender, users: int) -> None:
        # The forms are of different models.
        self.model: Any = model
        self.users = users
        self._matrices: dict[str, Tensor] = {}

    def matrix(self, name: str) -> Tensor:
        """One of the model's operators."""
        if name not in self._matrices:
            self._matrices[name] = coo(getattr(self.model, name))
        return self._matrices[name]

    def ids(self) -> Tensor:
        """The id table, users first."""
        return torch.cat([self.model.user_id, self.model.item_id])

    def nodes(self, batch: Batch) -> Tensor:
        """Users, positives and negatives of a batch as node numbers."""
        return torch.cat([batch.users, batch.positives + self.users, negatives_of(batch) + self.users])


Form = Callable[[Plain, Batch], Tensor]


def propagated(adjacency: Tensor, table: Tensor, layers: int) -> Tensor:
    """The mean of layers 0..L."""
    hops = [table]
    for _ in range(layers):
        hops.append(torch.sparse.mm(adjacency, hops[-1]))
    return torch.stack(hops, 1).mean(1)


def bpr(user: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """-mean log σ of the difference of the scores."""
    return -F.logsigmoid((user * positive).sum(1) - (user * negative).sum(1)).mean()


def squares(*tables: Tensor) -> Tensor:
    """Mean squared norms of the rows."""
    return torch.stack([table.square().sum(1).mean() for table in tables]).sum()


def negatives_of(batch: Batch) -> Tensor:
    """Of a batch that has them."""
    assert batch.negatives is not None
    return batch.negatives


def lightgcn(plain: Plain, batch: Batch) -> Tensor:
    """LightGCN."""
    model, table, nodes = plain.model, plain.ids(), plain.nodes(batch)
    final = propagated(plain.matrix("adjacency"), table, model.config.layers)
    return bpr(*final[nodes].chunk(3)) + model.config.penalty_weight * squares(*table[nodes].chunk(3))


def vbpr(plain: Plain, batch: Batch) -> Tensor:
    """VBPR: content factors of all items, of which the batch takes its own."""
    model, negatives = plain.model, negatives_of(batch)
    width = model.config.content_dim
    content = torch.stack([model.features[key].matrix @ kernel.T for key, kernel in model.kernels.items()]).sum(0)
    user, likes = model.user_id[batch.users], model.user_content[batch.users]

    def score(items: Tensor) -> Tensor:
        biases = model.bias[items][:, 0] + content[items][:, width]
        return (user * model.item_id[items]).sum(1) + (likes * content[items][:, :width]).sum(1) + biases

    pair = batch.positives, negatives
    penalty = squares(user, likes, *(table[items] for table in (model.item_id, model.bias) for items in pair))
    return -F.logsigmoid(score(batch.positives) - score(negatives)).mean() + model.config.penalty_weight * penalty


def bm3(plain: Plain, batch: Batch) -> Tensor:
    """BM3 with trained features, a stopped target and a penalty of whole tables."""
    model, config, users = plain.model, plain.model.config, plain.users
    nodes = propagated(plain.matrix("adjacency"), plain.ids(), config.layers)
    user, item = nodes[:users], nodes[users:] + model.item_id
    u, i = batch.users, batch.positives
    with torch.no_grad():
        user_target, item_target = (F.dropout(rows.clone(), config.dropout) for rows in (user, item))
    user_online, item_online = model.predictor(user), model.predictor(item)

    def apart(online: Tensor, target: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(online, target.detach(), dim=-1).mean()

    loss = apart(user_online[u], item_target[i]) + apart(item_online[i], user_target[u])
    for key, table in model.features.items():
        content = model.projections[key](table.matrix)
        with torch.no_grad():
            target = F.dropout(content.clone(), config.dropout)
        online = model.predictor(content)[i]
        loss = loss + config.content_weight * (apart(online, item_target[i]) + apart(online, target[i]))
    return loss + config.penalty_weight * (torch.norm(user) + torch.norm(item)) / len(item)


def freedom(plain: Plain, batch: Batch) -> Tensor:
    """FREEDOM with trained features, on the epoch's edges."""
    model, config, users, negatives = plain.model, plain.model.config, plain.users, negatives_of(batch)
    nodes = propagated(plain.matrix("thinned"), plain.ids(), config.layers)
    similar = model.item_id
    for _ in range(config.item_layers):
        similar = torch.sparse.mm(plain.matrix("item_graph"), similar)
    user, item = nodes[:users], nodes[users:] + similar
    loss = bpr(user[batch.users], item[batch.positives], item[negatives])
    for key, table in model.features.items():
        content = table.matrix @ model.projections[key].T
        loss = loss + config.modal_weight * bpr(user[batch.users], content[batch.positives], content[negatives])
    own = model.user_id[batch.users], model.item_id[batch.positives], model.item_id[negatives]
    return loss + config.penalty_weight * squares(*own)


def lgmrec(plain: Plain, batch: Batch) -> Tensor:
    """LGMRec as released: Gumbel noise, shared masks, one direction of the contrast over all nodes, summed."""
    model, config, users = plain.model, plain.model.config, plain.users
    adjacency, history = plain.matrix("adjacency"), plain.matrix("history")
    ids = propagated(adjacency, plain.ids(), config.layers)
    local, reached = ids, []
    for name in model.modalities:
        own = model.content_of(name)
        projected, logits = own.table.matrix @ own.weight.T, own.table.matrix @ own.hyperedge.T
        modal = torch.cat([torch.sparse.mm(history, projected) * own.scale[:users], projected])
        for _ in range(config.modal_layers):
            modal = torch.sparse.mm(adjacency, modal)
        local = local + F.normalize(modal)
        sides = torch.sparse.mm(history, logits), logits
        if config.noise == "gumbel":
            user, item = (F.gumbel_softmax(side, config.temperature, dim=1, hard=False) for side in sides)
        else:
            user, item = (torch.softmax(side / config.temperature, 1) for side in sides)
        user, item = F.dropout(user, config.dropout), F.dropout(item, config.dropout)
        rows, of_users = ids[users:], ids[:users]
        for _ in range(config.hyper_layers):
            latent = item.T @ rows
            rows, of_users = item @ latent, user @ latent
        reached.append((of_users, rows))
    everywhere = torch.cat([torch.stack(side).sum(0) for side in zip(*reached, strict=True)])
    final = local + config.alpha * F.normalize(everywhere)
    rows = final[plain.nodes(batch)].chunk(3)
    loss = bpr(*rows) + config.penalty_weight * torch.stack([torch.norm(row) for row in rows]).sum() / len(batch.users)
    for side, chosen in enumerate((batch.users, batch.positives)):
        one, other = (F.normalize(each[side]) for each in reached)
        scores = torch.exp(one[chosen] @ other.T / config.contrast_temperature)
        match = torch.exp((one[chosen] * other[chosen]).sum(1) / config.contrast_temperature)
        loss = loss - config.contrast_weight * torch.log(match / scores.sum(1)).sum()
    return loss


def alignrec(plain: Plain, batch: Batch) -> Tensor:
    """AlignRec as released: features and the target trained, all pairs of a batch written out."""
    model, config, users = plain.model, plain.model.config, plain.users
    content = model.content.matrix
    nodes = propagated(plain.matrix("adjacency"), plain.ids(), config.layers)
    items = model.item_id * torch.sigmoid(model.gate(model.feature(content)))
    for _ in range(config.item_layers):
        items = torch.sparse.mm(plain.matrix("item_graph"), items)
    spread = torch.cat([torch.sparse.mm(plain.matrix("user_block"), items), items])
    final = spread + nodes
    user, positive, negative = (rows for rows in final[plain.nodes(batch)].chunk(3))

    def contrast(chosen: Tensor) -> Tensor:
        left, right = F.normalize(spread[chosen]), F.normalize(nodes[chosen])
        scores = torch.exp(left @ right.T / config.temperature)
        return -torch.log(torch.exp((left * right).sum(1) / config.temperature) / scores.sum(1)).mean()

    ours, theirs = items[batch.positives], F.normalize(content[batch.positives].detach())
    similar = torch.norm(ours @ ours.T - theirs @ theirs.T) / len(batch.users)
    halves = torch.stack([rows.square().sum() for rows in (user, positive, negative)]).sum()
    return (
        -F.logsigmoid((user * positive).sum(1) - (user * negative).sum(1)).mean()
        + config.contrast_weight * (contrast(batch.positives + users) + contrast(batch.users))
        + config.user_item_weight * (1 - F.cosine_similarity(user, positive).mean())
        + config.similarity_weight * similar
        + config.penalty_weight * halves / (2 * config.penalty_batch_size)
    )


def mmgcn(plain: Plain, batch: Batch) -> Tensor:
    """MMGCN as released: all nodes through all layers, each message gathered along its edge and added to its node."""
    model, config, users, negatives = plain.model, plain.model.config, plain.users, negatives_of(batch)
    user, item = plain.matrix("to_users")._indices()
    to, source = torch.cat([user, item + users]), torch.cat([item + users, user])
    degrees = torch.bincount(to, minlength=users + len(model.item_id)).clamp_min(1).unsqueeze(1)
    ids, ends, slope = plain.ids(), [], config.leaky_slope
    for branch in model.branches.values():
        items = branch.features.matrix if branch.projection is None else branch.projection(branch.features.matrix)
        x = F.normalize(torch.cat([branch.preference, items]))
        for hop in branch.hops:
            message = (x @ hop.message.weight.T).index_select(0, source)
            sums = message.new_zeros(len(x), message.shape[1]).index_add(0, to, message)
            mean = sums / degrees
            own = F.leaky_relu(F.linear(x, hop.own.weight, hop.own.bias), slope) + ids
            joined = torch.cat([F.leaky_relu(mean, slope), own], 1)
            x = F.leaky_relu(F.linear(joined, hop.combine.weight, hop.combine.bias), slope)
        ends.append(x)
    final = torch.stack(ends).mean(0)
    user, positive, negative = (rows for rows in final[plain.nodes(batch)].chunk(3))
    loss = -F.logsigmoid((user * positive).sum(1) - (user * negative).sum(1)).mean()
    pairs = torch.cat([batch.positives, negatives])
    penalty = (squares(model.user_id[batch.users]) + squares(model.item_id[pairs])) / config.dim
    if config.penalised_preference in model.modalities:
        branch = model.branch(config.penalised_preference)
        penalty = penalty + branch.preference.square().mean()
    return loss + config.penalty_weight * penalty


FORMS: dict[str, Form] = {
    "lightgcn": lightgcn,
    "vbpr": vbpr,
    "bm3 official": bm3,
    "freedom official": freedom,
    "lgmrec official": lgmrec,
    "alignrec official": alignrec,
    "mmgcn official": mmgcn,
}


def batches(inputs: ModelInputs, count: int, sampled: bool) -> tuple[list[Batch], float]:
    """Batches whose negatives, if they have any, were drawn one by one; and the CPU seconds that drawing took."""
    chance = random.Random(SEED)
    users, items = inputs.train.by_user.row_of_entry(), inputs.train.by_user.columns
    order = np.random.default_rng(SEED).permutation(len(users))
    seen = [set(own) for own in np.split(items, inputs.train.by_user.pointer[1:-1])]
    made: list[Batch] = []
    spent = 0.0
    for start in range(0, count * BATCH, BATCH):
        chosen = order[start : start + BATCH]
        begin, negatives = time.process_time(), None
        if sampled:
            negatives = torch.tensor([_unseen(chance, seen[user], inputs.items) for user in users[chosen].tolist()])
        spent += time.process_time() - begin
        pairs = torch.from_numpy(users[chosen]), torch.from_numpy(items[chosen].astype(np.int64))
        made.append(Batch(*pairs, negatives))
    return made, spent


def _unseen(chance: random.Random, seen: set[int], items: int) -> int:
    drawn = chance.randrange(items)
    while drawn in seen:
        drawn = chance.randrange(items)
    return drawn


def measure(name: str, steps: int) -> dict[str, Any]:
    """One form, in this process."""
    from palate.recipe import resolve
    from palate.train.fitting import build, peak_memory_mb

    model_name, _, preset = name.partition(" ")
    kind, config, _ = resolve(model_name, preset or "intended")
    world: World = baby_shaped(JOINT if model_name == "alignrec" else None if kind.modal else {})
    model = build(kind, config, world.inputs, SEED, "float32")
    assert isinstance(model, Recommender)
    model.start_epoch(Draws(SEED, 1))
    plain = Plain(model, world.inputs.users)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    drawn, sampling = batches(world.inputs, WARM + steps, model.needs.negatives > 0)
    sampling /= len(drawn)
    walls: list[float] = []
    cpus: list[float] = []
    for batch in drawn:
        begin = time.perf_counter(), time.process_time()
        optimiser.zero_grad()
        FORMS[name](plain, batch).backward()
        optimiser.step()
        walls.append(time.perf_counter() - begin[0])
        cpus.append(time.process_time() - begin[1])
    peak = peak_memory_mb()
    epoch = -(-world.inputs.train.by_user.size // BATCH)
    found: dict[str, Any] = {
        "model": name,
        "epoch_wall": epoch * (statistics.median(walls[WARM:]) + sampling),
        "epoch_cpu": epoch * (statistics.median(cpus[WARM:]) + sampling),
        "steps": steps,
        "peak_mb": peak,
        "threads": torch.get_num_threads(),
    }
    if name == "lightgcn":
        adjacency = plain.matrix("adjacency")

        @torch.no_grad()
        def embed() -> Embeddings:
            nodes = propagated(adjacency, plain.ids(), plain.model.config.layers)
            return Embeddings(nodes[: plain.users], nodes[plain.users :])

        begin = time.process_time()
        evaluation(embed, world.held_out, world.inputs.seen)
        found["evaluation_cpu"] = time.process_time() - begin
    return found


def main() -> None:
    """Measure each form in a process of its own."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask_models(reader, FORMS)
    reader.add_argument("--steps", type=positive, default=8, help="measured steps after two to warm up")
    reader.add_argument("--threads", type=int, default=0, help="0: all cores")
    reader.add_argument("--out", type=output, help="JSON file, in place of what was there")
    reader.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = reader.parse_args()
    if asked.here:
        print(json.dumps(measure(asked.model[0], asked.steps)))
        return
    results: list[dict[str, Any]] = []
    for name in asked.model:
        words = ["--here", "--model", name, "--steps", str(asked.steps)]
        found = found_by("benchmarks.plain", *words, threads=asked.threads)
        if found is None:
            sys.exit(f"{name}: failed")
        results.append(found)
        print(f"{name}: {found['epoch_cpu']:.1f} CPU s an epoch, {found['peak_mb']:,.0f} MB", flush=True)
        if asked.out:
            write(asked.out, results)


if __name__ == "__main__":
    guarded(main)
