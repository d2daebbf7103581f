"""Who speaks: persona specifications, the built-in ones, and the measures of a voice.

A `Persona` is written in YAML and says how it speaks as bands of measured numbers; `library` holds the
built-in ones by name, `find` looks one up by name or path, and `measure` takes any reply and gives the
numbers that the bands are about.
"""

from mien.persona.spec import Persona, find, library
from mien.persona.voice import measure

__all__ = ["Persona", "find", "library", "measure"]
