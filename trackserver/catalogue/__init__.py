"""What a site knows: its settings, files, tilesets, effects and views."""
