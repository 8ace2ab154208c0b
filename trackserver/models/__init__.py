"""Published architectures, one a file, and what is known about each installed model. Importing this needs no torch."""

from trackserver.models.install import load

__all__ = ["load"]
