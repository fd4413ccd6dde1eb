"""The parts of downstream.py: what drives a real SKT module."""
