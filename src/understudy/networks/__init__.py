"""Plain torch modules: layers and their sizes, no losses."""
