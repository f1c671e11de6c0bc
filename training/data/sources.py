"""Recorded speech that can be had as packages, with the licence that decides its use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Use = Literal["train", "eval"]


@dataclass(frozen=True)
class Source:
    """One package of recordings.

    Attributes:
        package: name of the Debian package.
        pattern: which files below ``usr/share``; a ``{speaker}`` group may name the speaker.
        speaker: name of the speaker, or a format filled from the pattern's groups.
        sex: ``f``, ``m`` or ``?``.
        credit: whom the licence wants named.
        use: weights that are shipped learn from ``train`` only.
    """

    package: str
    pattern: str
    speaker: str
    language: str
    sex: str
    licence: str
    credit: str
    use: Use


_ASTERISK = r"asterisk/sounds/{}/.*\.{}$"
_FISH = r"games/fillets-ng/sound/[^/]+/{}/[^/]*-(?P<who>[mv])-[^/]*\.ogg$"

SOURCES: tuple[Source, ...] = (
    Source(
        "asterisk-core-sounds-it-g722",
        _ASTERISK.format("it_IT_m_Carlo", "g722"),
        "it-carlo",
        "it",
        "m",
        "CC-BY-3.0",
        "Carlo Flora (carloflora.com), translated by Silvia Petrin",
        "train",
    ),
    Source(
        "asterisk-core-sounds-ru-g722",
        _ASTERISK.format("ru_RU_f_IvrvoiceRU", "g722"),
        "ru-ivrvoice",
        "ru",
        "f",
        "CC-BY-3.0",
        "Maxim Topal (ivrvoice.ru)",
        "train",
    ),
    Source(
        "asterisk-core-sounds-en-g722",
        _ASTERISK.format("en_US_f_Allison", "g722"),
        "en-allison",
        "en",
        "f",
        "CC-BY-SA-3.0",
        "Allison Smith, Digium",
        "eval",
    ),
    Source(
        "asterisk-core-sounds-es-g722",
        _ASTERISK.format("es_MX_f_Allison", "g722"),
        "es-allison",
        "es",
        "f",
        "CC-BY-SA-3.0",
        "Allison Smith, Digium",
        "eval",
    ),
    Source(
        "asterisk-core-sounds-fr-g722",
        _ASTERISK.format("fr_CA_f_June", "g722"),
        "fr-june",
        "fr",
        "f",
        "CC-BY-SA-3.0",
        "June Wallack",
        "eval",
    ),
    Source(
        "asterisk-prompt-it-menardi-wav",
        _ASTERISK.format("it_IT_f_Menardi", "wav"),
        "it-menardi",
        "it",
        "f",
        "CC-BY-SA-3.0",
        "Marco Menardi and Paola Dal Zot",
        "eval",
    ),
    Source(
        "fillets-ng-data-cs",
        _FISH.format("cs"),
        "cs-fish-{who}",
        "cs",
        "?",
        "GPL-2",
        "ALTAR interactive",
        "eval",
    ),
    Source(
        "fillets-ng-data-nl",
        _FISH.format("nl"),
        "nl-fish-{who}",
        "nl",
        "?",
        "GPL-2",
        "the Dutch voices of Fish Fillets NG",
        "eval",
    ),
    Source(
        "fillets-ng-data-cs",
        r"games/fillets-ng/sound/city/cs/vit-hs-[^/]*\.ogg$",
        "cs-guide",
        "cs",
        "m",
        "GPL-2",
        "ALTAR interactive",
        "eval",
    ),
    Source(
        "pocketsphinx-testdata",
        r"pocketsphinx/test/data/librivox/[^/]*\.wav$",
        "en-librivox",
        "en",
        "m",
        "public domain",
        "a LibriVox reader of Sense and Sensibility",
        "eval",
    ),
)
