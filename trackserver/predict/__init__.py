"""Sequence to numbers. With `models`, the only room that imports torch, and only when something is predicted."""
