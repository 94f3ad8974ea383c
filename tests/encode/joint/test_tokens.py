"""Words and ids: what counts as a word, which are known, and how texts become rows of one length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palate.core.errors import ArtefactError, DataError
from palate.encode.joint.tokens import PAD, SPECIAL, UNKNOWN, Vocabulary, words_of


def test_words_keep_inner_signs_and_lose_their_case() -> None:
    assert words_of("The Cat's well-known [MASK], etc.") == [
        "the", "cat's", "well-known", "[", "mask", "]", ",", "etc", ".",
    ]  # fmt: skip


def test_only_words_of_two_items_are_known_the_most_frequent_first() -> None:
    vocabulary = Vocabulary.of(["red red red star", "blue star", None, "blue star moon"], most=100)
    assert vocabulary.words == (*SPECIAL, "star", "blue")
    assert vocabulary.encode("blue moon star", 5).tolist() == [4, UNKNOWN, 3, PAD, PAD]
    assert vocabulary.encode("star star blue", 2).tolist() == [3, 3]
    assert vocabulary.encode(None, 2).tolist() == [PAD, PAD]
    assert Vocabulary.of(["b a", "a b"], most=4).words == (*SPECIAL, "a")


def test_no_text_at_all_is_a_vocabulary_of_no_words_and_nothing_in_common_is_refused() -> None:
    assert Vocabulary.of([None, None], most=10).words == SPECIAL
    with pytest.raises(DataError, match="no word occurs in two items"):
        Vocabulary.of(["one", "two"], most=10)


@pytest.mark.parametrize("words", [["a", "b"], [*SPECIAL, "a", "a"], ["[PAD]"]])
def test_a_damaged_vocabulary_is_refused(words: list[str]) -> None:
    with pytest.raises(ArtefactError, match="no vocabulary"):
        Vocabulary(words)


@given(st.lists(st.text(), max_size=6), st.integers(2, 9))
def test_any_texts_make_rows_of_known_ids_that_only_end_in_padding(texts: list[str], most: int) -> None:
    vocabulary = Vocabulary.of([*texts, "same word", "same word"], most=50)
    rows = vocabulary.encode_all(texts, most)
    assert rows.shape == (len(texts), most)
    for text, row in zip(texts, rows, strict=True):
        length = min(len(words_of(text)), most)
        assert (row[:length] != PAD).all()
        assert (row[length:] == PAD).all()
        # The mask stands for a word that is hidden; no text may say it.
        assert not (row == 2).any()
        assert row.max(initial=0) < len(vocabulary)
