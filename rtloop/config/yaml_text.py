"""A configuration as YAML text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from rtloop.config.problem import is_plain


class _Dumper(yaml.SafeDumper):
    """Texts in quotes wherever any reader of YAML could take them for something else; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.Node:
        style = None if is_plain(text) else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _Dumper.represent_text)


def as_yaml(values: Mapping[str, Any]) -> str:
    """Plain values as text that ``loads`` reads back as they are."""
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110
    )
    return text
