"""The embedded demo: a synthetic genome whose regulatory grammar, and so every answer, is known."""
