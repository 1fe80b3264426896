"""Uprobes (next)."""
