"""The text of a config, which MMEngine asks for again and again."""

from mmengine.config import Config


class WrittenOnce(Config):
    """MMEngine's config, whose text is formatted once as long as it holds.

    MMEngine formats it for the log, the work dir, the message hub and with
    every checkpoint, which takes a fifth of a second each time.
    """

    @property
    def pretty_text(self) -> str:
        """The config as Python code."""
        content = repr(self.to_dict())
        known, text = self.__dict__.get('_written', (None, ''))
        if known != content:
            text = super().pretty_text
            # the config's own way to set it would make it a key
            self.__dict__['_written'] = content, text
        return text


def written_once(cfg: Config) -> WrittenOnce:
    """Return a shallow copy whose text is formatted once."""
    other = WrittenOnce.__new__(WrittenOnce)
    other.__dict__.update(cfg.__dict__)
    return other
