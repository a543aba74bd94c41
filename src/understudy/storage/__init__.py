"""Reading and writing events, chunked both ways."""
