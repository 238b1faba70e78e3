#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Reads OpenMetrics 1.0 text on stdin and ends with 1 and a sentence at the first thing that is not exactly so.

Stricter than readers are: also what the standard only recommends, and what the older text format of node_exporter's
collector does not know, is an error.
"""

import math
import re
import sys

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r"[a-zA-Z_][a-zA-Z0-9_]*"
VALUE = r'"((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL}={VALUE},?)+)\}})? (\S+)")
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_count", "_sum"]}


class Wrong(Exception):
    pass


def must(condition, *what):
    if not condition:
        raise Wrong(" ".join(str(word) for word in what))


def number(text):
    must(re.fullmatch(r"[+-]?(\d+(\.\d+)?(e[+-]?\d+)?|Inf)|NaN", text), "not a number:", text)
    return float(text)


class Family:
    def __init__(self, name, kind):
        must(kind in SUFFIXES, "type", kind, "of", name)
        self.name, self.kind = name, kind
        self.unit = self.help = None
        self.samples = {}

    def add(self, name, labels, value):
        must(name.removeprefix(self.name) in SUFFIXES[self.kind], "sample", name, "in", self.kind, self.name)
        key = (name, tuple(sorted(labels.items())))
        must(key not in self.samples, "twice:", key)
        must(len(labels) == len(set(labels)), "label twice in", key)
        if self.kind == "counter":
            must(value >= 0 and math.isfinite(value), "counter", key, value)
        self.samples[key] = value

    def close(self):
        must(self.help, "no help for", self.name)
        must(self.unit is None or self.name.endswith("_" + self.unit), "unit of", self.name)
        must(self.kind != "counter" or not self.name.endswith("_total"), "family", self.name)
        names = {tuple(label for label, _ in key[1]) for key in self.samples}
        must(self.kind == "histogram" or len(names) <= 1, "different labels in", self.name)
        if self.kind == "histogram":
            self.close_histogram()

    def close_histogram(self):
        groups = {}
        for (name, labels), value in self.samples.items():
            rest = tuple(label for label in labels if label[0] != "le")
            groups.setdefault(rest, {})[name.removeprefix(self.name), dict(labels).get("le")] = value
        for rest, group in groups.items():
            bounds = [(number(le), value) for (suffix, le), value in group.items() if suffix == "_bucket"]
            must(bounds == sorted(bounds), "buckets of", rest, "do not rise")
            must(bounds and bounds[-1][0] == math.inf, "no +Inf in", rest)
            must([value for _, value in bounds] == sorted(value for _, value in bounds), "counts of", rest)
            must(group["_count", None] == bounds[-1][1], "count of", rest)
            must(group["_sum", None] >= 0, "sum of", rest)


def check(text):
    must(text.endswith("# EOF\n"), "no # EOF at the end")
    must("\r" not in text, "carriage return")
    families, current = {}, None
    for line in text.removesuffix("# EOF\n").splitlines():
        must(line and line == line.strip(), "blanks:", repr(line))
        comment = re.fullmatch(rf"# (TYPE|UNIT|HELP) ({NAME}) (.+)", line)
        if comment:
            what, name, rest = comment.groups()
            if what == "TYPE":
                must(name not in families, "family twice:", name)
                if current:
                    current.close()
                current = families[name] = Family(name, rest)
            must(current and current.name == name and not current.samples, what, "of", name, "in the wrong place")
            if what == "UNIT":
                must(current.unit is None and current.help is None, "UNIT of", name)
                current.unit = rest
            if what == "HELP":
                must(current.help is None, "HELP twice of", name)
                current.help = rest
            continue
        match = SAMPLE.fullmatch(line)
        must(match, "not a sample:", line)
        must(current is not None, "a sample before every family:", line)
        pairs = re.findall(rf"({LABEL})={VALUE}", match[2] or "")
        must(len(pairs) == len({name for name, _ in pairs}), "a label twice:", line)
        must(not (match[2] or "").endswith(","), "comma:", line)
        current.add(match[1], dict(pairs), number(match[4]))
    must(current, "nothing at all")
    current.close()
    for name, family in families.items():
        for suffix in SUFFIXES[family.kind]:
            must(suffix == "" or name + suffix not in families, "clash of", name)
    return families


def main():
    try:
        families = check(sys.stdin.buffer.read().decode())
    except (Wrong, UnicodeDecodeError) as error:
        print(f"not OpenMetrics: {error}")
        return 1
    # What a test may want to see of it.
    for wanted in sys.argv[1:]:
        values = {f"{name}{''.join(f',{label}={value}' for label, value in labels)}": number_
                  for family in families.values() for (name, labels), number_ in family.samples.items()}
        print(values.get(wanted, f"nothing is called {wanted}"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
