"""The catalogue that the settings describe."""

from __future__ import annotations

from fast_vc_service.contract import Converter
from fast_vc_service.engine.families import family_of
from fast_vc_service.settings import Settings
from fast_vc_service.voices.catalogue import VoiceCatalogue, build_catalogue
from fast_vc_service.voices.making import VoiceMaker


def catalogue_of(
    settings: Settings, converter: Converter, maker: VoiceMaker | None = None
) -> VoiceCatalogue:
    """Build the catalogue that the settings describe; see :func:`~.catalogue.build_catalogue`."""
    return build_catalogue(
        converter,
        voices_dir=settings.voices_dir,
        default_voice=settings.default_voice,
        cache_dir=settings.models_dir / "voices",
        data_dir=settings.data_dir,
        # The check takes networks, which a service that needs no torch does not load for it.
        checks_clips=family_of(settings.engine).on_torch,
        max_voices=settings.max_voices,
        maker=maker,
    )
