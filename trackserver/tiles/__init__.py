"""Numbers at a place, in the form HiGlass asks for."""
