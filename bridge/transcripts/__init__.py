"""Conversations as text: read, run in virtual time against a dialect, compared byte by byte."""
