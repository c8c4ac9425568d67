"""The settings of every process: one typed object, read from the environment and from env files."""

from gengui_stream.settings.loading import ENV_FILES, Inspection, inspect_settings, load_settings
from gengui_stream.settings.model import Settings
from gengui_stream.settings.sources import DEV_ENV

__all__ = ["DEV_ENV", "ENV_FILES", "Inspection", "Settings", "inspect_settings", "load_settings"]
