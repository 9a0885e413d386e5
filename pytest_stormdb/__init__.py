"""Load tests for PostgreSQL as plain pytest."""
