"""The aligners of this package, one a file; `aligners/registry.py` names them."""
