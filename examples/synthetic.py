"""Data for the examples: made here, or shipped with scikit-learn, so that nothing is downloaded."""

import numpy as np

POSITIVE = range(10, 30)
NEGATIVE = range(30, 50)
NOT = 5
VOCABULARY = 200


def digits():
    """Return (training, test), each (images (n, 8, 8, 1) in 0 to 1, labels), of scanned digits."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    x = (data.images / 16).astype("float32")[..., None]
    x_train, x_test, y_train, y_test = train_test_split(
        x, data.target, test_size=0.2, stratify=data.target, random_state=0
    )
    return (x_train, y_train), (x_test, y_test)


def reviews(count, seed=0):
    """Return reviews, lists of word numbers of different lengths, and whether each is positive.

    Words that say nothing surround a few that praise or blame; "not" before such a word reverses
    it. The label is what the majority of them says.
    """
    random = np.random.RandomState(seed)
    texts, labels = [], []
    for _ in range(count):
        words = list(random.randint(50, VOCABULARY, size=random.randint(15, 40)))
        score = 0
        for _ in range(random.choice([3, 5, 7])):
            praise, reverse = random.rand() < 0.5, random.rand() < 0.2
            said = [NOT] * reverse + [random.choice(POSITIVE if praise else NEGATIVE)]
            place = random.randint(len(words) + 1)
            if place and words[place - 1] == NOT:
                place -= 1
            words[place:place] = said
            score += 1 if praise != reverse else -1
        texts.append([int(word) for word in words])
        labels.append(int(score > 0))
    return texts, np.array(labels)


def textures(count, size=16, seed=0):
    """Return colour images (count, size, size, 3) and their class, one of ten.

    A class is one of five patterns (stripes in four directions, rings) in one of two colours;
    phase, wave length and noise vary.
    """
    random = np.random.RandomState(seed)
    labels = random.randint(10, size=count)
    rows, columns = np.mgrid[:size, :size] - size / 2
    directions = [rows, columns, rows + columns, rows - columns, np.hypot(rows, columns)]
    images = random.normal(0, 0.25, size=(count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        wave = directions[label % 5] * random.uniform(1.1, 1.6) + random.uniform(0, 2 * np.pi)
        colour = [1.0, 0.6, 0.2] if label < 5 else [0.2, 0.6, 1.0]
        image += np.sin(wave)[..., None] * colour
    return images.astype("float32"), labels
