"""CircuitPython's busio.UART, as far as adafruit_espatcontrol uses it, on a pyserial port."""

import select

import serial


class UART:
    def __init__(self, path, baudrate=115200, timeout=1.0):
        self._port = serial.Serial(path, baudrate, timeout=timeout)

    @property
    def baudrate(self):
        return self._port.baudrate

    @baudrate.setter
    def baudrate(self, rate):
        self._port.baudrate = rate

    @property
    def in_waiting(self):
        # The driver polls this in a tight loop; 1 ms of patience leaves the processor to the bridge.
        select.select([self._port.fileno()], [], [], 0.001)
        return self._port.in_waiting

    def read(self, count):
        return self._port.read(count) or None  # CircuitPython: None where nothing came in time

    def write(self, data):
        written = self._port.write(data)
        self._port.flush()
        return written

    def reset_input_buffer(self):
        self._port.reset_input_buffer()

    def deinit(self):
        self._port.close()
