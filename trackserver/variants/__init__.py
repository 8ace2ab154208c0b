"""What an allele changes."""
