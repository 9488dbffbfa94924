"""Noise models p(x|s): the base class, the models, fitting, and operations that depend on them."""
