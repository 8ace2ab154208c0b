"""Predicted and measured genome tracks, and the effect of a variant, in a web browser."""

__version__ = "0.1.0"
