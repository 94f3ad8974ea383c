"""Sums over embedding columns: plain torch in one process, and the same values and gradients when two share them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from palate.core import width
from palate.core.artefact import read_tensors, write_tensors
from palate.core.errors import ConfigError

WORLD, WIDTH, ROWS = 2, 6, 5


def tables() -> dict[str, Tensor]:
    """Two tables (one with a zero row), weights and bias of a layer, and weights that make a loss of every sum."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    left, right = draw(ROWS, WIDTH), draw(ROWS, WIDTH)
    left[2] = 0
    return {"left": left, "right": right, "weight": draw(WIDTH, WIDTH), "bias": draw(WIDTH), "mix": draw(ROWS, ROWS)}


def sums(
    left: Tensor, right: Tensor, layer: width.ColumnLinear, wide: width.ColumnLinear, mix: Tensor
) -> dict[str, Tensor]:
    """Every sum of the module, of own columns."""
    return {
        "inner": width.inner(left, right),
        "squared_norm": width.squared_norm(left),
        "norm": width.norm(left),
        "table_norm": width.table_norm(right),
        "cosine": width.cosine(left, right),
        "gram": width.gram(left, right),
        "normalized": width.inner(width.normalize(left, 1e-3), right),
        "layer": width.inner(layer(left), right),
        "layer_of_two_blocks": width.inner(wide(left, right), left),
        "two_layers": width.cosine(layer(torch.tanh(layer(right))), left),
        "attention": width.inner(width.onto_columns(torch.softmax(width.gram(left, right), dim=1)) @ right, left),
        "pairs_of_columns": (width.whole_rows(left).T @ width.whole_rows(right)).square().sum(),
        "propagated": width.inner(mix @ left, mix.T @ layer(right)),
    }


def run(first: int, last: int) -> dict[str, Tensor]:
    """Values of all sums, and the gradients of a loss that is built from all of them, for columns first … last."""
    given = tables()
    layer, wide = width.ColumnLinear(WIDTH, WIDTH).double(), width.ColumnLinear(2 * WIDTH, WIDTH, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(given["weight"][first:last])
        wide.weight.copy_(torch.cat([given["weight"], given["weight"].cos()], 1)[first:last])
        assert layer.bias is not None
        layer.bias.copy_(given["bias"][first:last])
    left = given["left"][:, first:last].clone().requires_grad_()
    right = given["right"][:, first:last].clone().requires_grad_()
    found = sums(left, right, layer, wide, given["mix"])
    terms = [
        (torch.sin(value) * given["mix"].flatten()[: value.numel()].view_as(value)).sum() for value in found.values()
    ]
    loss = torch.stack(terms).sum() + found["table_norm"] * found["inner"].square().sum()
    loss.backward()
    result = {name: value.detach() for name, value in found.items()}
    for name, value in {
        "left": left,
        "right": right,
        "weight": layer.weight,
        "bias": layer.bias,
        "wide": wide.weight,
    }.items():
        assert value.grad is not None
        result[f"gradient_{name}"] = value.grad
    return result


def refused_twice() -> list[str]:
    """Which functions of own columns refuse to be differentiated twice, among those whose gradient needs talking."""
    layer = width.ColumnLinear(WIDTH, WIDTH).double()
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "onto_columns": width.onto_columns,
        "whole_rows": width.whole_rows,
        "ColumnLinear": layer,
    }
    refused: list[str] = []
    for name, function in functions.items():
        own = torch.ones(2, WIDTH // WORLD, dtype=torch.float64, requires_grad=True)
        try:
            torch.autograd.grad(function(own).square().sum(), own, create_graph=True)
        except RuntimeError as error:
            refused += [name] if "second derivative" in str(error) else []
    return refused


def worker(rank: int, folder: Path) -> None:
    """One of two processes, each with half of the columns."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    width.spread(dist.group.WORLD)
    share = WIDTH // WORLD
    result = run(rank * share, (rank + 1) * share)
    try:
        width.ColumnLinear(WIDTH, WIDTH + 1)
    except ConfigError as error:
        (folder / f"refused{rank}").write_text(str(error))
    (folder / f"once{rank}").write_text(" ".join(refused_twice()))
    write_tensors(folder / f"rank{rank}.safetensors", result)
    dist.barrier()
    dist.destroy_process_group()
    # What the library leaves running may abort the interpreter's own way out.
    os._exit(0)


def test_two_processes_with_half_the_columns_get_the_same_sums_and_gradients(tmp_path: Path) -> None:
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    running = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=environment) for rank in range(WORLD)]
    try:
        assert [process.wait(timeout=60) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    whole = run(0, WIDTH)
    parts = [read_tensors(tmp_path / f"rank{rank}.safetensors")[0] for rank in range(WORLD)]
    for name, expected in whole.items():
        if name.startswith("gradient_"):
            own_columns = -1 if name in ("gradient_left", "gradient_right") else 0
            found = [torch.cat([part[name] for part in parts], dim=own_columns)]
        else:
            found = [part[name] for part in parts]
        for value in found:
            torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}")
    assert "cannot be shared evenly by 2 processes" in (tmp_path / "refused0").read_text()
    assert (tmp_path / "once0").read_text() == "onto_columns whole_rows ColumnLinear"


def plain(left: Tensor, right: Tensor) -> dict[str, Tensor]:
    return {
        "inner": torch.einsum("nd,nd->n", left, right),
        "squared_norm": (left**2).sum(1),
        "norm": torch.linalg.vector_norm(left, dim=1),
        "table_norm": torch.linalg.matrix_norm(right),
        "cosine": F.cosine_similarity(left, right),
        "gram": torch.einsum("nd,md->nm", left, right),
        "normalize": F.normalize(left),
    }


@pytest.mark.parametrize("name", list(plain(torch.ones(1, 1), torch.ones(1, 1))))
def test_one_process_computes_what_torch_computes_and_its_gradients(name: str) -> None:
    given = tables()
    functions = {"inner": width.inner, "cosine": width.cosine, "gram": width.gram}
    singles = {"squared_norm": width.squared_norm, "norm": width.norm, "normalize": width.normalize}
    gradients: list[list[Tensor]] = []
    values: list[Tensor] = []
    for ours in (True, False):
        left, right = given["left"].clone().requires_grad_(), given["right"].clone().requires_grad_()
        if not ours:
            value = plain(left, right)[name]
        elif name in functions:
            value = functions[name](left, right)
        else:
            value = singles[name](left) if name in singles else width.table_norm(right)
        torch.cos(value).sum().backward()
        values.append(value.detach())
        gradients.append([torch.zeros_like(left) if g is None else g for g in (left.grad, right.grad)])
    torch.testing.assert_close(*values, rtol=1e-13, atol=1e-13)
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.isfinite(ours).all()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_the_layer_is_a_linear_map_and_starts_without_bias() -> None:
    layer = width.ColumnLinear(4, 3)
    rows = torch.rand(5, 4)
    assert torch.equal(layer(rows), F.linear(rows, layer.weight, layer.bias))
    torch.testing.assert_close(layer(rows[:, :1], rows[:, 1:3], rows[:, 3:]), layer(rows))
    assert layer.bias is not None
    assert not layer.bias.any()
    assert width.ColumnLinear(4, 3, bias=False).bias is None
    large = width.ColumnLinear(300, 500)
    assert abs(float(large.weight.detach().std()) * (800 / 2) ** 0.5 - 1) < 0.02


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
