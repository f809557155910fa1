"""A Data Access Centre in one package."""

__version__ = "0.1.0"
