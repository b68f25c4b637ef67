"""Files from the network, and batches made ahead of their use.

The names of `keras.utils.data_utils`; the work is done in `download`, `archives` and `enqueuers`.
"""

from .archives import extract_archive
from .download import get_file, validate_file
from .enqueuers import GeneratorEnqueuer, OrderedEnqueuer, Sequence, SequenceEnqueuer

__all__ = [
    "GeneratorEnqueuer",
    "OrderedEnqueuer",
    "Sequence",
    "SequenceEnqueuer",
    "extract_archive",
    "get_file",
    "validate_file",
]
