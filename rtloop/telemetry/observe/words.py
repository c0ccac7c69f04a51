"""The vocabulary of core/words.def as sentences for people."""

from rtloop import core


def explain(word: core.Word) -> str:
    """What it means, and what to do next: one sentence or two, without the last full stop."""
    if not word.remedy:
        return word.sentence
    return f"{word.sentence}. {word.remedy[0].upper()}{word.remedy[1:]}"


def find(table: str, word: str) -> core.Word | None:
    """A word of a recording; None when a newer version wrote it."""
    return core.WORDS[table].get(word)
