"""The version of BCC whose Python API this package offers."""

__version__ = "0.26.0"
