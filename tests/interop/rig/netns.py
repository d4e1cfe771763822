"""A network of one's own.

A service that listens on every address (an installed Prosody, a resolver) would take 5269 or 53 from us on loopback too. In a private
network namespace there is nobody else. Where the kernel does not allow one, the run goes on without.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
import sys

_MARK = "TURNOUT_INTEROP_NETNS"
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def enter(*more: str) -> None:
    """Start this program again inside a namespace of its own, once; inside it, bring loopback up. `more`: other namespaces, as unshare
    calls them, where the kernel allows them too."""
    if os.environ.get(_MARK) == "1":
        _loopback_up()
        return
    if os.environ.get(_MARK):
        return
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    for also in (more, ()):
        unshare = ["unshare", "--net", *also, *root]
        allowed = subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0
        if allowed:
            break
    os.environ[_MARK] = "1" if allowed else "0"
    if allowed:
        os.execvp("unshare", [*unshare, sys.executable, *sys.argv])


def outside() -> dict[str, str]:
    """The environment for a program that is to enter a namespace of its own, and not the one we are in."""
    return {name: value for name, value in os.environ.items() if name != _MARK}


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
