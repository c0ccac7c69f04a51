"""What the inputs and outputs of a loop are called: by what they are, or as the user wants it."""

from __future__ import annotations

from collections.abc import Mapping

from rtloop.errors import ConfigError


class Names:
    """Gives names, and finds out whether those that the user asked for were of any use."""

    def __init__(self, renamed: Mapping[str, str]) -> None:
        self._renamed = dict(renamed)
        self._given: dict[str, str] = {}

    def of(self, wanted: str) -> str:
        """The name of what would be called ``wanted``. Raises ConfigError where another has it."""
        name = self._renamed.get(wanted, wanted)
        if self._given.setdefault(name, wanted) != wanted:
            raise ConfigError(
                f"--rename: found the name '{name}' for both '{self._given[name]}' and '{wanted}'; expected "
                "one for each"
            )
        return name

    def refuse_unused(self) -> None:
        """Raises ConfigError where the user named something that there is not."""
        known = sorted(self._given.values())
        for name in self._renamed.keys() - set(known):
            raise ConfigError(
                f"--rename: found '{name}', which nothing is called; expected one of {', '.join(known)}"
            )
