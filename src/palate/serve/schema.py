"""What the service is asked and what it answers: the typed bodies that requests are checked by, and the OpenAPI page.

Requests are closed to unknown fields. Answers name the model that gave them; optional parts are left out, not null.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

MOST_K, MOST_ITEMS, MOST_LISTED, MOST_CONDITIONS, MOST_VALUES = 200, 1000, 10_000, 16, 100
MOST_ID, MOST_TEXT, MOST_QUERY, MOST_NAME, MOST_MOMENT = 2048, 4000, 200, 200, 64
# Of base64: what a body of the largest allowed size can hold. The picture's own size is checked once it is decoded.
MOST_BASE64 = 64 * 1024 * 1024


def _whole(value: object) -> object:
    # JSON knows no whole numbers: 10.0 is one to its schema.
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Id = Annotated[str, Field(min_length=1, max_length=MOST_ID)]
Name = Annotated[str, Field(min_length=1, max_length=MOST_NAME)]
Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT, pattern=r"\S", description="words of a description")]
Picture = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MOST_BASE64,
        description="a picture file (JPEG, PNG, GIF, WebP, BMP, TIFF) in base64, or a data address (data:…;base64,…)",
    ),
]
Length = Annotated[int, Field(ge=1, le=MOST_K, description="items wanted; fewer come where there are fewer"), WHOLE]
ModelName = Annotated[Name | None, Field(description="one of /v1/models; default: the first")]
Scalar = str | bool | int | float


class Request(BaseModel):
    """Base of what is asked."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class RatedItem(Request):
    """An item that somebody met."""

    id: Id
    rating: float | None = Field(default=None, description="on the catalogue's scale; without one, the item is liked")


End = (
    int
    | float
    | Annotated[
        str,
        Field(
            min_length=1,
            max_length=MOST_MOMENT,
            description="a day (2024-06-01, all of it) or a time (2024-06-01T18:30+02:00; without a zone, UTC)",
        ),
    ]
)


class Range(Request):
    """Numbers, or days and times, between two ends, both included."""

    min: End | None = None
    max: End | None = None


class Diversify(Request):
    """Items unlike each other (maximal marginal relevance)."""

    by: Name = Field(description="a modality, or 'model' for the model's own item vectors")
    strength: float = Field(default=0.3, ge=0, le=1, description="0: by score alone; 1: by unlikeness alone")


Values = Annotated[list[Scalar], Field(min_length=1, max_length=MOST_VALUES)]


def _form(value: object) -> str:
    return "range" if isinstance(value, Mapping | Range) else "several" if isinstance(value, list) else "one"


Wanted = Annotated[
    Annotated[Scalar, Tag("one")] | Annotated[Values, Tag("several")] | Annotated[Range, Tag("range")],
    Discriminator(_form),
]
Ids = Annotated[list[Id], Field(max_length=MOST_LISTED)]


class Wish(Request):
    """What a list of recommendations should be like."""

    k: Length = 10
    model: ModelName = None
    exclude_seen: bool = Field(default=True, description="leave out what the user has met, or the items given")
    allow: Ids | None = Field(default=None, description="only these items; unknown ids are left out, which a note says")
    deny: Ids = Field(default=[], description="never these items; unknown ids are left out likewise")
    where: dict[Name, Wanted] = Field(
        default={},
        max_length=MOST_CONDITIONS,
        description="column of the item table → a value, several (either of them), or a range; all must hold",
        examples=[{"genres": ["Comedy", "Drama"], "year": {"min": 1990}}],
    )
    diversify: Diversify | None = None
    popularity_cap: (
        Annotated[int, Field(ge=0, le=MOST_K), WHOLE]
        | Annotated[str, Field(pattern=r"^(100|[0-9]{1,2}(\.[0-9]{1,6})?)%$")]
        | None
    ) = Field(default=None, description="at most so many of the most popular items: a number, or a share as '30%'")
    cold_quota: Annotated[int, Field(ge=0, le=MOST_K), WHOLE] = Field(
        default=0, description="at least so many items that nobody took in training"
    )
    explain: bool = Field(default=False, description="say why: parts of the score, and the history behind it")
    neighbours: Annotated[int, Field(ge=0, le=10), WHOLE] = Field(
        default=0, description="with explain: so many of the items most like each one, by modality"
    )


class ForUser(Wish):
    """Recommendations for a known user."""

    user: Id


class ForItems(Wish):
    """Recommendations for somebody who is known by a list of items alone, without training."""

    items: Annotated[list[RatedItem], Field(min_length=1, max_length=MOST_ITEMS)] = Field(
        description="in order of time, the latest last; of an item that is named twice, the last mention counts"
    )


class ForText(Wish):
    """Recommendations for somebody who liked just an item of this description."""

    text: Text


class ForImage(Wish):
    """Recommendations for somebody who liked just an item of this picture."""

    image: Picture


class Near(Request):
    """How many similar items are wanted, and by what."""

    by: Name = Field(
        default="model", description="a modality: alike in content; 'model': alike to the model, by what people did"
    )
    k: Length = 10
    model: ModelName = None


class NearItem(Near):
    """Items similar to one of the catalogue."""

    item: Id


class NearText(Near):
    """Items similar to a description."""

    text: Text


class NearImage(Near):
    """Items similar to a picture."""

    image: Picture


def _given(body: Any, names: tuple[str, ...]) -> str | None:
    found = [name for name in names if (name in body if isinstance(body, Mapping) else hasattr(body, name))]
    return found[0] if len(found) == 1 else None


def _query(body: Any) -> str | None:
    return _given(body, ("user", "items", "text", "image"))


def _near(body: Any) -> str | None:
    return _given(body, ("item", "text", "image"))


Recommend = Annotated[
    Annotated[ForUser, Tag("user")]
    | Annotated[ForItems, Tag("items")]
    | Annotated[ForText, Tag("text")]
    | Annotated[ForImage, Tag("image")],
    Discriminator(_query, "one_query", "give exactly one of user, items, text and image"),
]
Similar = Annotated[
    Annotated[NearItem, Tag("item")] | Annotated[NearText, Tag("text")] | Annotated[NearImage, Tag("image")],
    Discriminator(_near, "one_query", "give exactly one of item, text and image"),
]


class Answer(BaseModel):
    """Base of what is answered."""

    model_config = ConfigDict(frozen=True)


class Problem(Answer):
    """What is wrong, where, and what to do."""

    what: str
    where: str | None = None
    do: str | None = None


class ProblemAnswer(Answer):
    """The body of every answer that is no success."""

    error: Problem


class Health(Answer):
    """That the service runs."""

    status: Literal["ok"]
    version: str
    models: list[str]
    default: str = Field(description="what is asked where a request names no model; empty when it is served no more")


class ModelFacts(Answer):
    """One model that is served."""

    name: str = Field(description="what requests call it")
    title: str = Field(description="what people call it")
    source: Literal["run", "bundle"]
    catalogue: str
    users: int
    items: int
    modalities: list[str] = Field(description="by which items can be compared")
    branches: list[str] = Field(description="named parts that a score is the sum of; empty where it is no sum")
    folds_in: bool = Field(description="whether it recommends for a list of items")
    places_items: bool = Field(
        description="whether the model places new items: without, a description or picture finds similar items alone"
    )
    takes_text: bool = Field(description="whether a description can be asked for")
    takes_image: bool = Field(description="whether a picture can be asked for")
    dislike: float | None = Field(description="greatest rating that counts as a dislike; null: no rating does")
    search: str = Field(description="how items are searched")


class ModelsAnswer(Answer):
    """All that are served, the default first."""

    models: list[ModelFacts]


class UserRow(Answer):
    """A user."""

    id: str
    interactions: int = Field(description="items that the user met")


class UsersAnswer(Answer):
    """Users whose id holds the words of the query."""

    users: list[UserRow]


class Item(Answer):
    """An item in short."""

    id: str
    title: str | None
    image: str | None = Field(description="address of its picture on this service")


class ItemsAnswer(Answer):
    """Items that hold all words of the query, best first."""

    items: list[Item]


class UserAnswer(UserRow):
    """A user and what the user met."""

    history: list[Item] = Field(description="latest first, as far as the catalogue knows the time")


class ItemAnswer(Item):
    """All that is known of an item."""

    description: str | None
    attributes: dict[str, Scalar | list[str]] = Field(description="the further columns that it has")
    modalities: list[str] = Field(description="in which it can be compared with others")


class Reason(Item):
    """An item of the user's history."""

    contribution: float | None = Field(default=None, description="what it adds to the score")
    similarity: float | None = Field(default=None, description="cosine of the model's vectors")


class SimilarItem(Item):
    """An item with its likeness."""

    similarity: float = Field(description="cosine; of item-item models, the weight")
    rank: int


class Why(Answer):
    """What is behind one recommendation: numbers of the model and of the features."""

    branches: dict[str, float] = Field(description="what each named part adds to the score")
    history: list[Reason] = Field(description="what of the user's history adds most, or is nearest")
    placed: bool = Field(
        default=False, description="nobody took it in training: its content gave it its place, and its score no parts"
    )
    neighbours: dict[str, list[SimilarItem]] | None = Field(default=None, description="the items most like it")


class Recommendation(Item):
    """A recommended item."""

    score: float
    rank: int
    why: Why | None = None


class RecommendAnswer(Answer):
    """Recommendations, best first."""

    model: str
    query: Literal["user", "items", "text", "image"]
    items: list[Recommendation]
    notes: list[str] = Field(description="what should be known about this list")


class SimilarAnswer(Answer):
    """Similar items, most similar first."""

    model: str
    by: str
    items: list[SimilarItem]
    notes: list[str]
