"""What the bridge costs: measured, printed, written to bench.json; never asserted."""
