"""The demonstration: a simulated modem, the bridge and a scripted host in one process."""
