"""The version of this collection, as galaxy.yml has it."""

VERSION = "1.0.0"
