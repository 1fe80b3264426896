"""Benchmarks: every figure that the project claims, measured beside its peer in one run and printed as a ratio.

``python -m bench`` runs all of them (``./dev bench``), ``python -m bench startup maps`` some, ``--once`` one round
each (that is what CI does, so that they cannot rot). A peer that is not installed is skipped and said so.
"""
