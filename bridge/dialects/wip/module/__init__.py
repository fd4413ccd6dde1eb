"""The parts of upstream.py: the module that a WIP host sees."""
