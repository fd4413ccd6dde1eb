"""ESP-AT: the dialect of Espressif modules."""
