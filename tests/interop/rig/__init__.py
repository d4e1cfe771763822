"""Stands real peers up around turnout on loopback: addresses, certificates, DNS, processes, clients."""
