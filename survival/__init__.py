"""Harnesses that try to break a running centre: kills, faults, hostile requests, load. See ``python -m survival``."""
