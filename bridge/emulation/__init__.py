"""Networks around a Network: what a module lacks."""
