"""Entry point of `python -m trackserver`."""

from trackserver.cli import main

main()
