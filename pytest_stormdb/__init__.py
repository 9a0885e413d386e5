"""Load tests for PostgreSQL as plain pytest."""

__version__ = "0.1.0"
