"""Adam in one fused pass over all tables, with the bits of torch's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from palate.core.gradients import rows_of

BETAS, EPSILON = (0.9, 0.999), 1e-8
# Entries of a gradient of some rows that are written out at a time.
BLOCK = 1 << 18


class Adam:
    """Adam with bias correction; `weight_decay` adds an L2 term's gradient.

    `torch.optim.Adam` with `fused=True` calls the same kernel, but brings in all of torch's compiler when it is first
    made: 70 MB of memory and more than a second before the first step.

    Args:
        parameters: what is optimised; those without a gradient stay as they are. A gradient may be a sparse tensor of
            some rows (`row_gradients`): the step is that of the same gradient with zeros.
        learning_rate: the step size.
        weight_decay: λ of λ/2 ‖θ‖².

    Attributes:
        state: of each parameter that has had a gradient, by its place: `step`, `exp_avg` and `exp_avg_sq`.

    Source: Kingma & Ba, ICLR 2015, algorithm 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], learning_rate: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        moved: list[Tensor] = []
        gradients: list[Tensor] = []
        states: list[dict[str, Tensor]] = []
        for place, parameter in enumerate(self.parameters):
            if parameter.grad is None:
                continue
            if place not in self.state:
                self.state[place] = _fresh(parameter)
            state = self.state[place]
            state["step"] += 1
            if parameter.grad.is_sparse:
                self._move_by_rows(parameter, *rows_of(parameter.grad), state)
                continue
            moved.append(parameter)
            gradients.append(parameter.grad)
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

    def _move_by_rows(self, table: Tensor, rows: Tensor, values: Tensor, state: dict[str, Tensor]) -> None:
        """With a gradient of some rows, the others' being zero: their moments fade and move them all the same.

        Blocks of the gradient are written out one after the other into the same memory, which stays in the cache.
        """
        size = max(1, BLOCK // table.shape[1])
        starts = list(range(0, len(table), size))
        edges = torch.searchsorted(rows, torch.tensor([*starts, len(table)], device=rows.device)).tolist()
        whole = table.new_zeros(min(size, len(table)), table.shape[1])
        for start, (first, last) in zip(starts, pairwise(edges), strict=True):
            part = slice(start, start + size)
            block = whole[: len(table[part])]
            met = rows[first:last] - start
            block.index_copy_(0, met, values[first:last])
            here = {name: value if name == "step" else value[part] for name, value in state.items()}
            self._move([table[part]], [block], [here])
            block.index_fill_(0, met, 0.0)

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
