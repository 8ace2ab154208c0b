"""Tiles and tileset descriptions in the form that HiGlass requests."""
