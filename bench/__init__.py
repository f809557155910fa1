"""Benchmarks: against peers, side by side in one run (``python -m bench``), and of single parts (the other files)."""
