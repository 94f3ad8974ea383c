"""Adam in one fused pass over all tables, with the bits of torch's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from palate.core.dense import times
from palate.core.gradients import Factors, RowGradients

BETAS, EPSILON = (0.9, 0.999), 1e-8
# Entries of a table that are moved at a time where its gradient has to be written out, and rows written out at once.
BLOCK, ROWS = 1 << 19, 128


class Adam:
    """Adam with bias correction; `weight_decay` adds an L2 term's gradient.

    `torch.optim.Adam` with `fused=True` calls the same kernel, but brings in all of torch's compiler when it is first
    made: 70 MB of memory and more than a second before the first step.

    Args:
        parameters: what is optimised; those without a gradient stay as they are.
        learning_rate: the step size.
        weight_decay: λ of λ/2 ‖θ‖².

    Attributes:
        by_row: gradients that are not in `.grad` but `Factors` of some rows (`row_gradients`); a step is that of the
            gradient written out.
        state: of each parameter that has had a gradient, or was prepared for one, by its place: `step`, `exp_avg` and
            `exp_avg_sq`.

    Source: Kingma & Ba, ICLR 2015, algorithm 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.by_row = RowGradients(self.parameters)
        self.state: dict[int, dict[str, Tensor]] = {}

    def prepare(self) -> None:
        """Forget all gradients, and make now what the first step would: later it would lie among what steps free."""
        self.zero_grad()
        for place, parameter in enumerate(self.parameters):
            if place not in self.state:
                self.state[place] = _fresh(parameter)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None
        self.by_row.clear()

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved: list[Tensor] = []
        gradients: list[Tensor] = []
        states: list[dict[str, Tensor]] = []
        for place, parameter in enumerate(self.parameters):
            gradient, factors = parameter.grad, self.by_row.of(parameter)
            if gradient is None and factors is None:
                continue
            if place not in self.state:
                self.state[place] = _fresh(parameter)
            state = self.state[place]
            state["step"] += 1
            if gradient is None:
                assert factors is not None
                self._move_by_rows(parameter, factors, state)
                continue
            moved.append(parameter)
            gradients.append(gradient if factors is None else gradient + factors.written_out(len(parameter)))
            states.append(state)
        if moved:
            self._move(moved, gradients, states)

    def _move(self, moved: list[Tensor], gradients: list[Tensor], states: list[dict[str, Tensor]]) -> None:
        torch._fused_adam_(  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]
            moved,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            lr=self.learning_rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=self.weight_decay,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _move_by_rows(self, table: Tensor, gradient: Factors, state: dict[str, Tensor]) -> None:
        """With a gradient of some rows, the others' being zero: their moments fade and move them all the same.

        The gradient is written out a block at a time into the same memory, which stays in the cache.
        """
        rows, left, right = gradient
        size = max(1, BLOCK // table.shape[1])
        starts = torch.arange(0, len(table) + size, size, device=rows.device)
        edges, places = torch.searchsorted(rows, starts).tolist(), rows % size
        whole = table.new_empty(min(size, len(table)), table.shape[1])
        blocks = zip(*(part.split(size) for part in (table, state["exp_avg"], state["exp_avg_sq"])), strict=True)
        # The rows that were last multiplied, none yet, and the first of them.
        sent, first = whole, -ROWS
        for (here, average, squares), (begin, end) in zip(blocks, pairwise(edges), strict=True):
            block = whole[: len(here)].zero_()
            while begin < end:
                if begin >= first + ROWS:
                    first = begin
                    some = left[first : first + ROWS]
                    # The last ones are let go before the next ones are there.
                    sent = whole
                    sent = times(some, right.T, len(some) == ROWS)
                stop = min(end, first + ROWS)
                block.index_add_(0, places[begin:stop], sent[begin - first : stop - first])
                begin = stop
            self._move([here], [block], [{"step": state["step"], "exp_avg": average, "exp_avg_sq": squares}])

    def load(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Go on from a stored state.

        Raises:
            ValueError: when it does not fit the parameters.
        """
        loaded: dict[int, dict[str, Tensor]] = {}
        for place, stored in state.items():
            if not 0 <= place < len(self.parameters):
                raise ValueError(f"there is no parameter {place}")
            fresh = _fresh(self.parameters[place])
            if {name: value.shape for name, value in stored.items()} != {n: value.shape for n, value in fresh.items()}:
                raise ValueError(f"the state of parameter {place} has another shape")
            loaded[place] = {name: stored[name].to(value) for name, value in fresh.items()}
        self.state = loaded


def _fresh(parameter: nn.Parameter) -> dict[str, Tensor]:
    table = parameter.detach()
    step = torch.zeros((), dtype=torch.float32, device=table.device)
    return {"step": step, "exp_avg": torch.zeros_like(table), "exp_avg_sq": torch.zeros_like(table)}
