"""The case-management database's toolkit: the floor that every room stands on."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("casedb")
except PackageNotFoundError:
    # Run from a bare checkout that nobody installed.
    __version__ = "0+unknown"
