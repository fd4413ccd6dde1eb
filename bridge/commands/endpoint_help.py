"""What an endpoint may be, for the help of the commands that take one: a line and an example for each kind and key."""

__all__ = ["ENDPOINT", "HOST", "MODULE"]

ENDPOINT = """\
An endpoint is DIALECT[:PROFILE]@PORT[,key=value ...]; the downstream may also
be 'local', the gateway's own network.
  esp-at@/dev/ttyUSB0            a serial device, at the dialect's usual speed
  wip:c1@/dev/ttyUSB1            one profile (firmware generation) of a dialect
  esp-at@usb:0403:6001:A5069RR4  the adapter with these USB numbers (and serial
                                 number), as 'at-bridge ports' shows them
  esp-at@pty:host                a new pseudo terminal; the link "host" shows it
  wip:c1@modem                   an existing terminal by its path
  esp-at@listen:127.0.0.1:5000   wait for a TCP connection, one at a time
  esp-at@unix:/run/x/host        wait for a connection to a new socket file
  wip:c1@rfc2217://10.0.0.7:2217 a serial port of a terminal server, with speed
                                 and modem lines
  wip:c1@socket://10.0.0.7:4001  a serial port behind plain TCP

Keys about the line (those that it has; a pty or TCP has only baud, which
paces it):
  baud=57600     bits per second, instead of the dialect's usual speed
  flow=rtscts    or xonxoff; none without
  parity=even    or odd; none without
  stop=2         stop bits; 1 without
  dtr=drop       or assert; without, as the kernel leaves it; rts=... likewise
"""

HOST = """\
Keys about the host, on the upstream only:
  joined=yes     the host was provisioned years ago and never joins: joined when
                 the bridge starts
  announce=no    do not say 'ready' when the bridge starts
  quirks=yes     the old module's weaknesses, too, where its table has any
                 (simulate has them; quirks=no is without)
  ssid=plant     the only network name that can be joined; without, any
  reset_on=dsr   the wire by which the host resets its module: dsr, cts, dcd, or
                 break; !dsr where it resets while that is not asserted
  connect=8      seconds that the host waits for a connection
  payload=5      seconds of silence after which an announced payload is given up
                 (without: never)
"""

MODULE = """\
Keys about the module, on the downstream only (a password or a PIN comes from a
file, by the configuration):
  apn=internet   the access point of a packet network
  user=meter     the user name for it
  ack=bridge     SEND OK means that the bridge has the bytes; ack=module, that
                 the module took them.  Faster; what is lost after it ends the
                 link (CLOSED) and is logged.  Also with local: local,ack=bridge
"""
