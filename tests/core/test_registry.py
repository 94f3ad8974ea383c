"""Registered names: found by name, never twice, and an unknown one is answered with the valid ones."""

from __future__ import annotations

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
