"""CircuitPython's digitalio: imported by the driver, used only where a pin was given.  No pin is given here."""


class Direction:
    INPUT = "in"
    OUTPUT = "out"


class DigitalInOut:
    def __init__(self, pin):
        raise NotImplementedError("there are no pins here")
