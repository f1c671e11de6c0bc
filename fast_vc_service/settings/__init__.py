"""Settings of the service: what there is, where each value comes from, what is wrong with it."""

from fast_vc_service.errors import SettingsError
from fast_vc_service.settings.layers import LoadedSettings, load_settings
from fast_vc_service.settings.model import ApiKey, Settings

__all__ = ["ApiKey", "LoadedSettings", "Settings", "SettingsError", "load_settings"]
