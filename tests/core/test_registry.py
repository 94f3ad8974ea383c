"""Registered names: found by name, never twice, and an unknown one is answered with the valid ones."""

from __future__ import annotations

from typing import Any, cast

import pytest

from palate.core.errors import ConfigError
from palate.core.registry import Registry


def filled() -> Registry[object]:
    registry: Registry[object] = Registry("model")
    for name in ("popularity", "ease", "lightgcn"):
        registry.register(name)(name.upper())
    return registry


def test_entries_are_found_and_listed_in_order_of_name() -> None:
    registry = filled()
    assert registry["ease"] == "EASE"
    assert list(registry) == ["ease", "lightgcn", "popularity"]
    assert len(registry) == 3
    assert "ease" in registry
    assert "EASE" not in registry


def test_the_decorator_gives_back_what_it_is_put_on() -> None:
    registry: Registry[type] = Registry("model")

    @registry.register("mine")
    class Mine: ...

    assert registry["mine"] is Mine


def test_a_second_entry_of_a_name_is_refused_and_the_first_stays() -> None:
    registry = filled()
    with pytest.raises(ConfigError, match="two models are called 'ease'"):
        registry.register("ease")("OTHER")
    assert registry["ease"] == "EASE"


def test_an_unknown_name_is_answered_with_the_nearest_and_all_valid_ones() -> None:
    with pytest.raises(ConfigError, match="unknown model 'lightgnc'; did you mean 'lightgcn'") as caught:
        filled()["lightgnc"]
    assert caught.value.do == "valid models: ease, lightgcn, popularity"


def test_the_same_class_defined_again_replaces_the_earlier_one() -> None:
    registry: Registry[type] = Registry("model")

    def cell(value: int) -> type:
        @registry.register("mine")
        class Mine:
            x = value

        return Mine

    cell(1)
    second = cell(2)
    assert registry["mine"] is second

    class Other: ...

    with pytest.raises(ConfigError, match="two models are called 'mine'") as caught:
        registry.register("mine")(Other)
    assert "Mine in" in caught.value.where
    assert f"Other in {__file__}" in caught.value.where
    assert registry["mine"] is second


@pytest.mark.parametrize("name", ["../../esc", "a/b", "a b", "mine.yaml", "own.v2.yml", "", "-x", "x" * 61, "a\n"])
def test_a_name_is_one_word(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a model"):
        Registry[object]("model").register(name)("an entry")


def test_a_name_may_have_a_version() -> None:
    registry: Registry[object] = Registry("model")
    registry.register("own.v2")("an entry")
    assert registry["own.v2"] == "an entry"


def test_without_its_parentheses_the_decorator_says_so() -> None:
    class Mine: ...

    with pytest.raises(ConfigError, match="registered by a name") as caught:
        cast(Any, Registry[object]("model")).register(Mine)
    assert "Mine in" in caught.value.where
    assert 'register("name")' in caught.value.do


def test_an_entry_with_a_problem_is_in_nobodys_way() -> None:
    registry: Registry[object] = Registry(
        "number", check=lambda name, entry: ConfigError(f"{name} is none") if entry is int else None
    )
    registry.register("one")(float)
    registry.register("two")(int)
    assert (list(registry), len(registry), list(registry.problems)) == (["one"], 1, ["two"])
    assert registry["one"] is float
    with pytest.raises(ConfigError, match="two is none"):
        registry["two"]
