"""Where the data sets come from, and what digests they must have.

`origins` may be changed, for instance to a mirror: `origins['mnist.npz'].url = ...`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..utils.download import get_file


@dataclass
class Origin:
    """A file on the network.

    Attributes:
        url: where it is.
        digest: its SHA-256 or MD5 digest in hexadecimal, or None.
    """

    url: str
    digest: str | None = None


_TENSORFLOW = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"

origins: dict[str, Origin] = {
    "boston_housing.npz": Origin(
        f"{_TENSORFLOW}boston_housing.npz",
        "f553886a1f8d56431e820c5b82552d9d95cfcb96d1e678153f8839538947dff5",
    ),
    "cifar-10-batches-py": Origin(
        f"{_TORONTO}cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    "cifar-100-python": Origin(
        f"{_TORONTO}cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "imdb.npz": Origin(
        f"{_TENSORFLOW}imdb.npz",
        "69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f",
    ),
    "imdb_word_index.json": Origin(
        f"{_TENSORFLOW}imdb_word_index.json", "bfafd718b763782e994055a2d397834f"
    ),
    "mnist.npz": Origin(
        f"{_TENSORFLOW}mnist.npz",
        "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    ),
    "reuters.npz": Origin(
        f"{_TENSORFLOW}reuters.npz",
        "d6586e694ee56d7a4e65172e12b3e987c03096cb01eab99753921ef915959916",
    ),
    "reuters_word_index.json": Origin(
        f"{_TENSORFLOW}reuters_word_index.json", "4d44cc38712099c9e383dc6e5f11a921"
    ),
    # The makers of Fashion-MNIST publish these digests.
    "train-images-idx3-ubyte.gz": Origin(
        f"{_ZALANDO}train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    ),
    "train-labels-idx1-ubyte.gz": Origin(
        f"{_ZALANDO}train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"
    ),
    "t10k-images-idx3-ubyte.gz": Origin(
        f"{_ZALANDO}t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"
    ),
    "t10k-labels-idx1-ubyte.gz": Origin(
        f"{_ZALANDO}t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"
    ),
}


def fetch(path: str, key: str, untar: bool = False, cache_subdir: str = "datasets") -> str:
    """Return the local path of a data set's file.

    Args:
        path: its name in the cache. An absolute path to a file that exists is the user's own file
            and is taken as it is.
        key: the file's name in `origins`.
        untar: whether it is an archive, whose folder is wanted.
        cache_subdir: the folder inside the cache.
    """
    if os.path.isabs(path) and os.path.exists(path):
        return path
    origin = origins[key]
    return get_file(
        path, origin.url, untar=untar, file_hash=origin.digest, cache_subdir=cache_subdir
    )
