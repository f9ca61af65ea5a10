"""Settings of rendered domains to train on, tables [rendered.NAME]. Imports no JAX."""

from dataclasses import dataclass

from fas_jax.base.declarations import how, what


@dataclass(frozen=True)
class Rendered:
    """Rendered videos of random domains, to train on: cameras, light, instruments and distances of all kinds."""

    domains: int = what(24, at_least=1)
    """Domains to train on; each has a camera, light and instruments of its own, and videos of both classes."""
    validation_domains: int = what(0, at_least=0)
    """Further domains to validate on, for runs that have no other data."""
    test_domains: int = what(0, at_least=0)
    """Further domains to test on, for runs that have no other data."""
    subjects: int = what(8, at_least=1)
    """Subjects of a domain; no two domains share any."""
    videos_per_subject: int = what(4, at_least=2)
    """Videos of a subject, half of them bona fide, the others prints, screens, warped and cut photographs by turns."""
    frames: int = what(6, at_least=1)
    """Frames of a video before its random variation, at ten a second."""
    seed: int = what(0, at_least=0)
    """Of everything that is drawn; the same seed gives the same files."""
    faces: str = what("")
    """Folder of face photographs to use as textures, as in [synthesis]; empty renders faces from scratch."""
    workers: int = how(0, at_least=0)
    """Worker processes; 0 is one for each core."""
