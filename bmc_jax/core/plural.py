"""Counts in messages, without an import, so that help loads no library."""

IRREGULAR = {"box": "boxes", "process": "processes", "is": "are", "has": "have"}


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, as "1 pose", "2 poses" and "1,000 boxes"."""
    return f"{number:,} {plural(number, noun)}"


def plural(number: int, word: str) -> str:
    """Returns a noun, or "is" or "has", in the form for a number."""
    return word if number == 1 else IRREGULAR.get(word, f"{word}s")
