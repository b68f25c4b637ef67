"""Write a small dataset to HORNBEAM_DATA: noisy images of bars, and the row or column of each bar.

It needs no download and is the same wherever it is made.
"""

import os

import numpy as np

from hornbeam.run.storage import write_whole

SIZE, SAMPLES = 8, 4096

random = np.random.RandomState(0)
y = random.randint(2 * SIZE, size=SAMPLES)
x = random.normal(scale=0.5, size=(SAMPLES, SIZE, SIZE, 1)).astype("float32")
for image, bar in zip(x, y, strict=True):
    if bar < SIZE:
        image[bar] += 1
    else:
        image[:, bar - SIZE] += 1
write_whole(os.environ["HORNBEAM_DATA"], lambda path: np.savez(path, x=x, y=y))
print(f"{SAMPLES} images of {SIZE} x {SIZE} are in {os.environ['HORNBEAM_DATA']}")
