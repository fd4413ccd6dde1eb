"""The gateway's own sockets as a Network."""
