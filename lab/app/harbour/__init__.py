"""A small web application: a page about a harbour. It is what the lab moves between hosts."""

__version__ = "1.0"
