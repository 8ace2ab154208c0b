"""Published architectures, one per module, and the cards of installed models. Importing this package needs no torch."""

from trackserver.models.install import load

__all__ = ["load"]
