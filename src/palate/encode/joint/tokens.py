"""Words to ids: a vocabulary made of a catalogue's own texts.

The vocabulary is not MiniLM's WordPiece: predicting one of its 30,522 pieces would cost a small model more than all of
its layers, most pieces never occur in a catalogue of some thousand items, and the encoder would need another package.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from palate.core.errors import ArtefactError, DataError

PAD, UNKNOWN, MASK = 0, 1, 2
SPECIAL = ("[PAD]", "[UNK]", "[MASK]")
"""[CLS] is no word here: it is a learnt vector of the model, since an item without words has one too."""

# A word with its inner hyphens and apostrophes, or one sign.
_WORD = re.compile(r"\w+(?:[-'’]\w+)*|[^\w\s]")
FEWEST_ITEMS = 2


def words_of(text: str) -> list[str]:
    """The words and signs of a text, in lower case."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """Words by id; ids 0 to 2 are padding, unknown words and the mask.

    Args:
        words: all words by id, the special ones first.

    Raises:
        ArtefactError: when the special words are not in their places, or a word occurs twice.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._ids = {word: number for number, word in enumerate(self.words)}
        if self.words[: len(SPECIAL)] != SPECIAL or len(self._ids) != len(self.words):
            raise ArtefactError("this is no vocabulary of a joint encoder", do="pre-train the encoder again")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of(cls, texts: Iterable[str | None], most: int) -> Vocabulary:
        """The vocabulary of some texts: the words that occur in at least two of them, the most frequent first.

        Args:
            texts: one per item, None where there is none.
            most: of words, the special ones included.

        Raises:
            DataError: when no word occurs in two texts.
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(set(words_of(text or "")))
        frequent = [word for word, count in counts.items() if count >= FEWEST_ITEMS]
        # Ties go by spelling: the vocabulary must not depend on the order of a set.
        frequent.sort(key=lambda word: (-counts[word], word))
        if counts and not frequent:
            raise DataError("no word occurs in two items, so there is nothing to learn about words")
        return cls([*SPECIAL, *frequent[: max(0, most - len(SPECIAL))]])

    def encode(self, text: str | None, most: int) -> NDArray[np.int64]:
        """Ids of the first `most` words of a text; shorter texts end in padding, no text is padding alone."""
        ids = [self._ids.get(word, UNKNOWN) for word in words_of(text or "")[:most]]
        # A word that looks like a special one cannot arise: brackets are signs of their own.
        return np.array(ids + [PAD] * (most - len(ids)), dtype=np.int64)

    def encode_all(self, texts: Sequence[str | None], most: int) -> NDArray[np.int64]:
        """Ids of texts, len(texts) × most."""
        rows = [self.encode(text, most) for text in texts]
        return np.stack(rows) if rows else np.zeros((0, most), dtype=np.int64)
