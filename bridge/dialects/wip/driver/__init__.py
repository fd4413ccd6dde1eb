"""The parts of downstream.py: what drives a real WIP module."""
