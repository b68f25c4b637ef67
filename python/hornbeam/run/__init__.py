"""Running a training script on a cluster: `python -m hornbeam.run script.py`.

The script is an ordinary one for Keras. What a run on a cluster needs besides comes from the
command line or the environment (`settings`): where its workers are, where it saves checkpoints and
resumes from them, where the finished model goes, its metrics. SIGTERM ends it early (`drain`).
"""

from .storage import open_file

__all__ = ["open_file"]
