"""A private certificate authority made with the openssl program.

The variants exist because real partners have them: certificates for servers only (what public authorities now issue), self-signed
ones, ones for another name, and ones that have run out.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """Files of one certificate: the chain, its key, and both in one file for the peers that want it so."""

    certificate: Path
    key: Path
    both: Path


def _openssl(*args: str) -> None:
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {' '.join(args)}: {done.stderr}")


class Authority:
    """One root. Make a second one for a root nobody trusts."""

    def __init__(self, directory: Path, name: str = "root") -> None:
        self._dir = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        self._serial = 1
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                 "-subj", f"/CN=turnout interop {name}", "-addext", "basicConstraints=critical,CA:TRUE",
                 "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                 "-keyout", str(self._key), "-out", str(self.certificate))

    def issue(self, label: str, names: list[str], usage: str = "serverAuth,clientAuth", days: int = 20) -> Identity:
        """A certificate whose DNS names are `names`, signed by this root."""
        paths = _paths(self._dir, label)
        request, extensions = self._dir / f"{label}.csr", self._dir / f"{label}.ext"
        extensions.write_text("basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                              f"extendedKeyUsage={usage}\nsubjectAltName={_alt_names(names)}\n")
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-subj", f"/CN={names[0]}", "-keyout", str(paths.key), "-out", str(request))
        self._serial += 1
        _openssl("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key),
                 "-set_serial", str(self._serial), "-days", str(days), "-extfile", str(extensions),
                 "-out", str(paths.certificate))
        return _joined(paths)


def self_signed(directory: Path, label: str, names: list[str]) -> Identity:
    """A certificate nobody vouches for, as small partners have them."""
    paths = _paths(directory, label)
    _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "20",
             "-subj", f"/CN={names[0]}", "-addext", f"subjectAltName={_alt_names(names)}",
             "-addext", "extendedKeyUsage=serverAuth,clientAuth",
             "-keyout", str(paths.key), "-out", str(paths.certificate))
    return _joined(paths)


def _alt_names(names: list[str]) -> str:
    return ",".join(f"DNS:{name}" for name in names)


def _paths(directory: Path, label: str) -> Identity:
    return Identity(directory / f"{label}.pem", directory / f"{label}.key", directory / f"{label}.both.pem")


def _joined(paths: Identity) -> Identity:
    paths.both.write_bytes(paths.certificate.read_bytes() + paths.key.read_bytes())
    for path in (paths.key, paths.both):
        path.chmod(0o600)
    return paths
