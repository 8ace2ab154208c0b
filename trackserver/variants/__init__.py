"""Variant effects, their scores, and saturation mutagenesis."""
