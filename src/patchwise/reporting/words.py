"""Text for a page: nothing hidden in it, numbers as people write them."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # controls, marks of direction, unassigned


def visible(text: str) -> str:
    r"""Return a text with characters that cannot be seen written out as ``\\u202e``.

    A name with marks of direction in it would otherwise turn round the words beside it. Line
    breaks and tabs stay as they are.
    """
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in _HIDDEN
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def duration(seconds: float) -> str:
    """Return a time with its two largest units: "14 min 3 s"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def gibibytes(count: float) -> str:
    """Return an amount of memory."""
    return f"{count / 2**30:.2f} GiB"


def whole(number: float) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,.0f}".replace(",", "\u202f")
