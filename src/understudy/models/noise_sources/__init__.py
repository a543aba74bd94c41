"""Where a generator's noise comes from."""
