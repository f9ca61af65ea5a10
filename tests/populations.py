"""Made-up lists of videos, for tests of who trains, validates and is tested."""

from fas_jax.base.record import SPLITS, Video


def video(dataset: str, subject: str, split: str, label: int, number: int = 0, pai: str = "print") -> Video:
    """A video that nothing but these tells from others."""
    pai = pai if label == 0 else "bonafide"
    path = f"{split}/{subject}_{label}_{number}.avi"
    return Video(path, dataset, subject, split, label, pai, pai, "", "")


def population(prefix: str = "", **sizes: tuple[int, int, int]) -> list[Video]:
    """Datasets with (train, dev, test) subjects, one bona fide and two attack videos each."""
    return [
        video(prefix + dataset, f"{split}{number}", split, label, copy)
        for dataset, counts in sizes.items()
        for split, count in zip(SPLITS, counts, strict=True)
        for number in range(count)
        for label, copy in ((1, 0), (0, 0), (0, 1))
    ]
