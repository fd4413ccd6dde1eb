"""at-bridge: keeps frozen host firmware alive on a module that speaks another AT dialect."""

__version__ = "0.1.0"
