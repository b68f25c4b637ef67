"""What runs around training: logging, checkpoints, stopping, learning rates."""

from ..utils.generic_utils import Progbar
from .backup import BackupAndRestore
from .base import Callback, CallbackList
from .files import CSVLogger, ModelCheckpoint, RemoteMonitor
from .loggers import BaseLogger, History, LambdaCallback, ProgbarLogger
from .stopping import EarlyStopping, LearningRateScheduler, ReduceLROnPlateau, TerminateOnNaN
from .tensorboard import TensorBoard

__all__ = [
    "BackupAndRestore",
    "BaseLogger",
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "Progbar",
    "ProgbarLogger",
    "ReduceLROnPlateau",
    "RemoteMonitor",
    "TensorBoard",
    "TerminateOnNaN",
]
