"""A site and its catalogue: settings, assemblies, tilesets, pairs and views."""
