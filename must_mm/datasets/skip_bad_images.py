"""Skip images that cannot be read, count them, stop when there are many.

The data set replaces such an image and marks the sample, in whatever process
it is loaded; the hook reads the marks in the training process.
"""

from mmpretrain.registry import DATASETS

from ..transforms.loading import UnreadableImage
from ..utils.validation import check_integer
from .seeding import EpochIndex
from .wrapping import KEY, build_inside

MARK = 'bad_images'


class TooManyBadImages(RuntimeError):
    """More images cannot be read than the config allows."""


def following(index: int, length: int) -> int:
    """Return the next index, of the same epoch, around the end."""
    after = (index + 1) % length
    if isinstance(index, EpochIndex):
        return EpochIndex(after, index.epoch, index.seed, index.repeat)
    return after


@DATASETS.register_module()
class SkipBadImages:
    """A training set whose unreadable images give way to the next ones.

    The next readable image by index, with the views it has in this epoch:
    the same for any number of workers, and for a resumed run. Do not wrap a
    labelled set for evaluation: it would count images twice.

    Args:
        dataset: The data set's config, or its type, such as
            ``'CustomDataset'``. Its pipeline starts with :class:`LoadImage`.
        max_bad_images: How many files may be unreadable before
            :class:`BadImageHook` stops the run.
        options: Arguments of the data set.

    Raises:
        ValueError: If ``max_bad_images`` is not an integer, or negative.
        TypeError: If ``dataset`` is neither a config nor a type.
    """

    def __init__(
        self, dataset: str | dict, max_bad_images: int = 100, **options
    ) -> None:
        check_integer(f'{KEY}.max_bad_images', max_bad_images, 0)
        self.dataset = build_inside(dataset, **options)
        self.max_bad_images = max_bad_images

    @property
    def metainfo(self) -> dict:
        """Meta information of the data set."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Read the list of images."""
        self.dataset.full_init()

    def get_data_info(self, index: int) -> dict:
        """Return what the list says about a sample."""
        return self.dataset.get_data_info(index)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        """Load a sample, or the next that can be read.

        Returns:
            The sample. Where others were unreadable, its ``data_samples``
            has ``bad_images``, a dict from file to reason.

        Raises:
            TooManyBadImages: If more images than ``max_bad_images`` in a row
                cannot be read, or none can.
        """
        bad = {}
        for _ in range(min(self.max_bad_images + 1, len(self))):
            try:
                sample = self.dataset[index]
            except UnreadableImage as error:
                bad[error.path] = error.reason
                index = following(index, len(self))
                continue
            if bad:
                sample['data_samples'].set_metainfo({MARK: bad})
            return sample
        raise TooManyBadImages(too_many(bad, self.max_bad_images))


def too_many(bad: dict[str, str], limit: int) -> str:
    """Say that there are too many, show some of them and what to do."""
    shown = '; '.join(f'{path}: {why}' for path, why in list(bad.items())[:5])
    more = '; ...' if len(bad) > 5 else ''
    return (
        f'{len(bad)} images cannot be read, {KEY}.max_bad_images allows '
        f'{limit} ({shown}{more}). Repair or remove them, or raise '
        'max_bad_images'
    )
