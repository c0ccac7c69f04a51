"""LEAPP bundles, as Isaac Lab and GR00T export them: models and two flows between them, run as they are.

``bundle`` reads one, ``binding`` says which inputs and outputs of the loop are which of the bundle,
``names`` whether what the loop says of them has the same elements.
"""

from rtloop.policy.leapp.binding import Binding, bound
from rtloop.policy.leapp.bundle import Bundle, read_bundle
from rtloop.policy.leapp.names import term_name_rules
from rtloop.policy.leapp.rules import at_the_bundle, bundle_rules

__all__ = [
    "Binding",
    "Bundle",
    "at_the_bundle",
    "bound",
    "bundle_rules",
    "read_bundle",
    "term_name_rules",
]
