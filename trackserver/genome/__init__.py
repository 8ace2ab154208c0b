"""Chromosomes, loci, sequence, variants and genes. Uses no torch, no Flask and no database."""
