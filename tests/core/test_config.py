"""Settings: closed to unknown keys, all problems at once, and values from words with the type that was meant."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from palate.core.config import Config, read_assignments, read_yaml
from palate.core.errors import ConfigError


class Inner(Config):
    hidden: int = 3


class Outer(Config):
    dim: int = Field(default=64, ge=1)
    rate: float = 0.5
    features: list[str] = Field(default=[])
    inner: Inner = Inner()


def test_an_unknown_key_names_its_nearest_valid_key_and_lists_all() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse({"dmi": 3}, where="--set dmi=3")
    assert "unknown setting 'dmi'; did you mean 'dim'?" in caught.value.what
    assert caught.value.where == "--set dmi=3"
    assert caught.value.do == "valid settings: dim, rate, features, inner"


def test_an_unknown_key_within_a_part_is_compared_with_the_keys_of_that_part() -> None:
    with pytest.raises(ConfigError, match=r"unknown setting 'inner\.hiden'; did you mean 'hidden'\?"):
        Outer.parse({"inner": {"hiden": 3}})


def test_all_problems_come_at_once_with_the_values_that_were_found() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse({"dim": 0, "rate": "fast", "featurs": []})
    text = caught.value.what
    assert text.count("; ") == 3, "three sentences, one of which asks whether another name was meant"
    assert "dim: input should be greater than or equal to 1 (got 0)" in text
    assert "rate: " in text
    assert "(got 'fast')" in text
    assert "did you mean 'features'?" in text


def test_the_valid_settings_are_told_to_who_named_another_and_to_nobody_else() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse({"dim": 0})
    assert caught.value.do == ""

    class Empty(Config):
        pass

    with pytest.raises(ConfigError) as caught:
        Empty.parse({"dim": 0})
    assert caught.value.do == "valid settings: none"


def test_a_word_that_is_none_of_the_choices_is_compared_with_them() -> None:
    class Choice(Config):
        split: Literal["random", "user-time", "time"] = "random"

    with pytest.raises(ConfigError, match=r"unknown split 'user-tiem'; did you mean 'user-time'\?") as caught:
        Choice.parse({"split": "user-tiem"})
    assert "(valid: random, user-time, time)" in caught.value.what


@pytest.mark.parametrize("value", [math.nan, math.inf, "1e999"])
def test_numbers_are_finite(value: Any) -> None:
    with pytest.raises(ConfigError, match="finite"):
        Outer.parse({"rate": value})


def test_a_setting_of_several_types_is_named_without_them() -> None:
    class Either(Config):
        positive: float | Literal["all"] | None = None

    with pytest.raises(ConfigError) as caught:
        Either.parse({"positive": math.nan})
    assert caught.value.what.startswith("positive: input should be a finite number (got nan); unknown positive 'nan'")


def test_a_name_that_is_given_twice_is_refused_and_told_where() -> None:
    with pytest.raises(ConfigError, match="'dim' is given more than once") as caught:
        read_assignments(["dim=8", " dim =16"])
    assert caught.value.where == "--set  dim =16"
    with pytest.raises(ConfigError, match="'buy' has no name or no value") as caught:
        read_assignments(["buy"], "--events", "view=1,buy=5")
    assert (caught.value.where, caught.value.do) == ("--events", "write it as key=value, for example view=1,buy=5")


def test_override_changes_what_is_named_checks_it_and_leaves_the_original() -> None:
    before = Outer.parse({"rate": 0.25, "inner": {"hidden": 7}})
    after = before.override({"dim": 8})
    assert (after.dim, after.rate, after.inner.hidden) == (8, 0.25, 7)
    assert before.dim == 64
    with pytest.raises(ConfigError, match="did you mean 'dim'"):
        before.override({"dims": 8})
    with pytest.raises(ConfigError, match="greater than or equal"):
        before.override({"dim": 0})


def test_settings_cannot_be_changed_in_place() -> None:
    settings = Outer()
    with pytest.raises(ValidationError, match="frozen"):
        settings.dim = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=64", 64),
        ("a=-3", -3),
        ("a=0.5", 0.5),
        ("a=1e-3", 0.001),
        ("a=2E4", 20000.0),
        ("a=[1e-3, 2]", [0.001, 2]),
        ("a=[image, text]", ["image", "text"]),
        ("a=true", True),
        ("a=false", False),
        ("a=user-time", "user-time"),
        ("a=x=y", "x=y"),
        ("a=e", "e"),
        ("a=recall@20", "recall@20"),
        ("a=", None),
        (" a =3", 3),
    ],
)
def test_assignments_have_the_type_that_was_meant(word: str, value: Any) -> None:
    found = read_assignments([word])
    assert found == {"a": value}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize("word", ["dim", "=3", " =3", ""])
def test_a_word_that_assigns_nothing_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="has no name or no value"):
        read_assignments([word])


@pytest.mark.parametrize(
    "text",
    [
        "[1, 2",
        "a: b: c",
        "!!python/object/apply:os.system [ls]",
        "2001-99-99",
        "!!bool x",
        "!!timestamp x",
        "0x_",
        "[" * 5000,
        "\0",
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        read_yaml(text, where="recipe.yaml")
    assert caught.value.where == "recipe.yaml"


def test_the_line_of_the_mistake_is_named() -> None:
    with pytest.raises(ConfigError, match="line 3"):
        read_yaml("a: 1\nb: 2\nc: [1\n", where="recipe.yaml")


def data_or_error(text: str) -> Any:
    try:
        return read_yaml(text, where="here")
    except ConfigError as error:
        return error


@given(st.text(alphabet=" -:[]{}&*!|>'\"%@`,?=#~.0123456789abexYZ\n\t_", max_size=30))
def test_any_text_is_data_or_a_clear_error(text: str) -> None:
    found = data_or_error(text)
    if isinstance(found, ConfigError):
        assert found.where == "here"
    if isinstance(found, dict):
        with pytest.raises(ConfigError, match=r"Outer: "):
            Outer.parse({**found, "no_such_key": 1})
