"""LEAPP bundles, as Isaac Lab and GR00T export them: models and two flows between them, run as they are.

``bundle`` reads one, ``binding`` says which inputs and outputs of the loop are which of the bundle.
"""

from rtloop.policy.leapp.binding import Binding, bind
from rtloop.policy.leapp.bundle import Bundle, read_bundle

__all__ = ["Binding", "Bundle", "bind", "read_bundle"]
