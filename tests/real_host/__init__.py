"""A published host driver and the machinery that brings a bridge up for it, as processes on real ptys."""
