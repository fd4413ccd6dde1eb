"""Links of a GSM modem of the WIP family: the lines about them that its driver's tests share."""

from __future__ import annotations

from wip_gsm import ERROR, OK, up

UNREAD = b"AT+WIPOPT=2,%d,1,6\r"
NONE_UNREAD = b"\r\n+WIPOPT: 2,6,0\r\n" + OK
NO_LIST = (b"AT+WIPDATA?\r", ERROR)


def ready(index):
    return b"\r\n+WIPREADY: 2,%d\r\n" % index


def close(index):
    return b"AT+WIPCLOSE=2,%d\r" % index


async def module_again(net, module, script=None):
    """Whatever it was told before, bring-up comes."""
    data = b""
    while not data.endswith(b"+++"):
        data += module.spare or await module.port.receive()
        module.spare = b""
    module.spare = b"+++"
    await up(net, module, script)
