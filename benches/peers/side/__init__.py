"""The side-by-side runs: processes, peers, measurements, pages."""
