"""Pickles as Python 2 wrote them, which CIFAR's files are: text and bytes are one type."""

import struct

import numpy as np


class Name(str):
    """A module and a name in it, with a dot between."""


def pickled(value: object) -> bytes:
    """Return a pickle of the second protocol."""
    return b"\x80\x02" + _encode(value) + b"."


def _encode(value: object) -> bytes:
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, Name):
        module, _, name = value.rpartition(".")
        return f"c{module}\n{name}\n".encode()
    if isinstance(value, (list, tuple, dict)):
        pairs = value.items() if isinstance(value, dict) else [(part,) for part in value]
        body = b"".join(_encode(part) for pair in pairs for part in pair)
        before, after = {list: (b"](", b"e"), tuple: (b"(", b"t"), dict: (b"}(", b"u")}[type(value)]
        return before + body + after
    if isinstance(value, (str, bytes)):
        raw = value.encode() if isinstance(value, str) else value
        return b"T" + struct.pack("<i", len(raw)) + raw
    if isinstance(value, int) and not isinstance(value, bool):
        return b"J" + struct.pack("<i", value)
    return {None: b"N", True: b"\x88", False: b"\x89"}[value]  # type: ignore[index]


def call(name: str, *arguments: object) -> bytes:
    """Return the part of a pickle that calls a function."""
    return _encode(Name(name)) + _encode(arguments) + b"R"


def _array(values: np.ndarray) -> bytes:
    kind = call("numpy.dtype", values.dtype.str[1:], 0, 1)
    state = (3, values.dtype.str[0], None, None, None, -1, -1, 0)
    parts = [_encode(part) for part in (1, values.shape)]
    parts += [kind + _encode(state) + b"b", _encode(False), _encode(values.tobytes())]
    empty = call("numpy.core.multiarray._reconstruct", Name("numpy.ndarray"), (0,), b"b")
    return empty + b"(" + b"".join(parts) + b"tb"
