"""hornbeam's own error types.

Each is also one of Python's types, the one that a Keras user would catch: code written for Keras
goes on working, and code that wants to be exact can name the type. This module imports nothing.
"""

from __future__ import annotations


class HornbeamError(Exception):
    """The base of every error that only hornbeam raises."""


class MissingDependencyError(HornbeamError, ImportError):
    """An optional package is needed for what was asked and is not installed."""

    def __init__(
        self, package: str, purpose: str, extra: str | None = None, how: str | None = None
    ) -> None:
        """Name the package, what it is needed for and how to install it.

        Args:
            package: the name under which pip installs it.
            purpose: what needs it, such as 'plot_model'.
            extra: the extra of hornbeam that contains it, if there is one.
            how: the way to get it, where that is not pip.
        """
        if how is None:
            how = f"pip install {package}"
            if extra is not None:
                how = f'pip install "hornbeam[{extra}]" or {how}'
        super().__init__(f"{purpose} needs the package {package!r}, which is missing: {how}")
        self.package = package


class UnsafeFileError(HornbeamError, ValueError):
    """A file holds code, or paths outside its folder, and was not opened for that reason."""


class ChecksumError(HornbeamError, ValueError):
    """A downloaded or cached file does not have the digest it should have."""


class DownloadError(HornbeamError, OSError):
    """A file could not be fetched."""


class WorkerError(HornbeamError, RuntimeError):
    """A worker thread or process ended without handing its error over."""


class NoClusterError(HornbeamError, ConnectionError):
    """There is no Ray cluster at the address that was given."""


class WorkersLostError(HornbeamError, RuntimeError):
    """There are not enough workers to go on with."""


class BackupError(HornbeamError, ValueError):
    """A backup is damaged, or one of something else than what is trained."""


class SupersededError(HornbeamError, RuntimeError):
    """Another run has taken over what this one was writing."""
