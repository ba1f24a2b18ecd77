"""Figures in Prometheus' text format, by the rules of `promtool check metrics`; those of others where they keep to it.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re

from .errors import WharfError

_ENDS = {"histogram": ("_bucket", "_count", "_sum"), "summary": ("", "_count", "_sum")}  # of the names of samples
_NAME = r"[a-zA-Z_][a-zA-Z0-9_]*"
_KEY, _TEXT = rf"(?!__){_NAME}", r'(?:[^"\\\n]|\\[\\"n])*'  # with __name__ it would be another figure
_LABEL = re.compile(rf'({_KEY})="({_TEXT})"')
_LABELS = rf'{_KEY}="{_TEXT}"(?:,{_KEY}="{_TEXT}")*'
_VALUE = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|Inf|NaN)"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABELS})?\}})? ({_VALUE})")
_HELP = re.compile(rf"# HELP ({_NAME}) ((?:[^\\\n]|\\[\\n])+)")
_TYPE = re.compile(rf"# TYPE ({_NAME}) (counter|gauge|histogram|summary|untyped)")

Labels = tuple[tuple[str, str], ...]


class Exposition:
    """Figures by families.

    Attributes:
        help: what each family means.
        types: what each is: counter, gauge, histogram, summary or untyped.
        samples: of each the samples' names and labels, and their values, as they are written.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self.help: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.samples: dict[str, dict[tuple[str, Labels], str]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add a sample to a family, whose help and type are there. Raises WharfError where it is there already."""
        escapes = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
        self._add(name, name, tuple((key, text.translate(escapes)) for key, text in labels.items()), repr(value))

    def _add(self, family: str, name: str, labels: Labels, value: str) -> None:
        sample = (name, tuple(sorted(labels)))
        if len(dict(labels)) < len(labels) or sample in self.samples.setdefault(family, {}):
            raise WharfError(f"{name} is there twice")
        self.samples[family][sample] = value

    def read(self, text: str, prefix: str) -> None:
        """Add the families that a program tells whose names begin with a prefix.

        Raises:
            WharfError: one of their lines is not as it should be; nothing was added.
        """
        told = Exposition()
        for line in text.split("\n"):
            if re.match(rf"(?:# (?:HELP|TYPE) )?{prefix}", line):
                told._read_line(line)
        names = {name + end for name in told.samples for end in ("", *_ENDS.get(told.types[name], ()))}
        if len(names) < sum(len({"", *_ENDS.get(told.types[name], ())}) for name in told.samples):
            raise WharfError("two families have names in common")
        if both := names & self.types.keys():
            raise WharfError(f"{min(both)} is another's name")
        self.help.update(told.help)
        self.types.update(told.types)
        self.samples.update(told.samples)

    def _read_line(self, line: str) -> None:
        match = _TYPE.fullmatch(line) or _HELP.fullmatch(line)
        if match and match[1] in (self.types if line.startswith("# TYPE") else self.help):
            raise WharfError(f"{match[1]} is described twice")
        if match and line.startswith("# TYPE"):
            # By convention a counter's name ends in _total, and a gauge's does not.
            is_usual = match[2] not in ("counter", "gauge") or match[1].endswith("_total") == (match[2] == "counter")
            self.types[match[1]] = match[2] if is_usual else "untyped"
        elif match:
            self.help[match[1]] = match[2]
        elif match := _SAMPLE.fullmatch(line):
            self._add(self._family(match[1]), match[1], tuple(_LABEL.findall(match[2] or "")), match[3])
        else:
            raise WharfError(f"this is no figure: {line[:100]!r}")

    def _family(self, name: str) -> str:
        """Return to which family a sample belongs by its name. Raises WharfError where help or type are not there."""
        for family in (name, name.rpartition("_")[0]):
            kind = self.types.get(family, "")
            if kind and family in self.help and name in {family + end for end in _ENDS.get(kind, ("",))}:
                return family
        raise WharfError(f"{name} has no help or no type")

    def text(self) -> str:
        """Return the file: each family with its help and type, in the order of their names."""
        lines = []
        for family in sorted(self.samples):
            lines += [f"# HELP {family} {self.help[family]}", f"# TYPE {family} {self.types[family]}"]
            for (name, labels), value in self.samples[family].items():
                pairs = ",".join(f'{key}="{text}"' for key, text in labels)
                lines.append(f"{name}{{{pairs}}} {value}" if pairs else f"{name} {value}")
        return "".join(f"{line}\n" for line in lines)
