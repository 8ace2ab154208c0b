"""Where things are: chromosomes, loci, sequence, variants, genes. No torch, no Flask, no database."""
