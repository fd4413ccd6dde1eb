"""The parts of upstream.py: the module that a SKT host sees."""
