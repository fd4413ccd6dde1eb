"""A second reading of the SKT dialect: a simulated module that shares no line, and no misreading, with the bridge.

Plain Python on one thread, with real sockets on 127.0.0.1.  Nothing here may import `bridge`.

  loop      tasks (generators) over select(): the module's processor
  findings  what the module has to say against its host: rules that the host broke
  uart      the pty, the prints, the pace of the line
  console   one line buffer, two line editors, deafness
  faults    what goes wrong, by seed
  pool      connections and their numbers
  module    power, resets, and how a line becomes a command
  station   Wi-Fi and the basic commands
  s1 (s1_open, s1_receive), s1b, s2 (raw)   one generation's socket commands each
  runs      which module, which faults, by name and seed
  gateway   the bridge's process between a host and this module
  host      an ESP-AT host of several links, strict about every line it is told
  peers     the other ends of the links, and what each must have got
  session   the whole conversation, driven by a seed; `python -m second_opinion` from tests/ is the soak
"""
