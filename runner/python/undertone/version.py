"""The version of the package, which is the command's and the libraries' too."""

from undertone._native import __version__

__all__ = ["__version__"]
