"""MicroPython's const: a hint to its compiler."""


def const(value):
    return value
