"""A cart-pole balanced through real firmware code by a trained policy."""
