"""Models of messages: dataclasses whose members are annotated with what they are and mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, NamedTuple, get_type_hints

from fast_vc_service.protocol.values import Kind, Shape
from fast_vc_service.protocol.words import Words

Dialect = Literal["standard", "simple"]

REQUIRED: Any = object()
"""Stands for the default of a member that has none."""

_NO_WORDS = Words()


class Asked(NamedTuple):
    """A member that a client sends.

    Attributes:
        kind: What it may be.
        words: What it means; ``{low}``, ``{high}``, ``{allowed}`` and the like are the kind's.
        otherwise: What holds when it is left out, if that is no value.
        simple: Its name in the simple dialect, which knows no member without.
        example: A value for the documentation; the default if there is none.
        clients: The clients of ours that let a program choose it.
    """

    kind: Kind
    words: Words
    otherwise: Words = _NO_WORDS
    simple: str | None = None
    example: Any = None
    clients: tuple[Literal["python", "browser"], ...] = ("python", "browser")


class Told(NamedTuple):
    """A member that the server sends.

    Attributes:
        kind: What it is.
        words: What it means.
        inside: The member of the message that it stands in.
        assumed: What a client takes it to be when an older server does not say.
        example: A value for the documentation.
    """

    kind: Shape
    words: Words = _NO_WORDS
    inside: str | None = None
    assumed: Any = REQUIRED
    example: Any = None


class Member(NamedTuple):
    """A member of a message as it is declared.

    Attributes:
        name: Its name in the model, and in the standard dialect.
        default: Its value when it is left out; :data:`REQUIRED` if it cannot be.
        about: Its annotation.
    """

    name: str
    default: Any
    about: Asked | Told

    @property
    def asked(self) -> Asked:
        """Its annotation, as a client's member.

        Raises:
            TypeError: The server sends it.
        """
        if not isinstance(self.about, Asked):
            raise TypeError(f"{self.name} is sent by the server")
        return self.about

    @property
    def told(self) -> Told:
        """Its annotation, as a server's member.

        Raises:
            TypeError: A client sends it.
        """
        if not isinstance(self.about, Told):
            raise TypeError(f"{self.name} is sent by a client")
        return self.about

    def wire_name(self, dialect: Dialect) -> str | None:
        """Return what ``dialect`` calls it; None when it knows no such member."""
        if dialect == "simple" and isinstance(self.about, Asked):
            return self.about.simple
        return self.name


@cache
def members_of(model: type) -> tuple[Member, ...]:
    """Return the members of a model in their order."""
    return tuple(_members(model))


def _members(model: type) -> Iterator[Member]:
    hints = get_type_hints(model, include_extras=True)
    for item in dataclasses.fields(model):
        about = next(
            part
            for part in getattr(hints[item.name], "__metadata__", ())
            if isinstance(part, Asked | Told)
        )
        default = REQUIRED if item.default is dataclasses.MISSING else item.default
        yield Member(item.name, default, about)
