"""A config as a Python file: complete, readable, to be edited."""

from keyword import iskeyword
from pathlib import Path

from mmengine.config import Config
from yapf.yapflib.yapf_api import FormatCode

# Written once as a variable, used by these names.
_VARIABLES = ('classes', 'mask', 'train_pipeline', 'test_pipeline', 'teacher')
_COMMENTS = {
    'classes': 'The names, in the order of the labels.',
    'model': 'Student, teacher, and how they learn.',
    'mask': 'The blocks that are hidden in the second view.',
    'train_pipeline': 'Two views of each image.',
    'test_pipeline': 'The view that is classified.',
    'train_dataloader': 'The images, without labels.',
    'val_dataloader': 'Nothing is chosen by labels.',
    'test_dataloader': 'For tools/test.py and the exported model.',
    'optim_wrapper': 'Rate of the last layer; less for each layer below.',
    'train_cfg': 'Epochs; keep param_scheduler.end equal.',
    'teacher': "The teacher's decay, from one step to the next.",
    'custom_hooks': 'The teacher, and guards.',
    'default_hooks': 'Steps between log lines, epochs between checkpoints.',
    'default_scope': 'The rest rarely changes.',
}
# One item a line where a line ends, closing brackets on lines of their own.
_STYLE = dict(
    based_on_style='facebook',
    column_limit=79,
    split_all_top_level_comma_separated_values=True,
)


class _Name(str):
    """A variable, written without quotes."""

    __repr__ = str.__str__


def config_text(cfg: dict, header: str) -> str:
    """Write a config as a Python file.

    Args:
        cfg: The config; what it has of ``_VARIABLES`` is written once.
        header: Text of the comment it begins with.
    """
    parts = [f'# {line}'.rstrip() for line in header.split('\n')]
    order = [*_COMMENTS, *cfg]
    for key in sorted(cfg, key=order.index):
        if key in _COMMENTS:
            parts += ['', f'# {_COMMENTS[key]}']
        parts.append(f'{key} = {_source(_name_variables(cfg[key], cfg, key))}')
    # MMEngine replaces what stands in such braces
    parts = [part.replace('{{', '{\\x7b') for part in parts]
    text, _ = FormatCode('\n'.join(parts) + '\n', style_config=_STYLE)
    return text


def _source(value) -> str:
    """Python source of settings, dicts as calls where their keys allow."""
    if isinstance(value, dict):
        if all(
            str(key).isidentifier() and not iskeyword(key) for key in value
        ):
            items = ', '.join(f'{k}={_source(v)}' for k, v in value.items())
            return f'dict({items})'
        items = ', '.join(f'{k!r}: {_source(v)}' for k, v in value.items())
        return f'{{{items}}}'
    if isinstance(value, (list, tuple)):
        opening, closing = '[]' if isinstance(value, list) else '()'
        comma = ',' * (isinstance(value, tuple) and len(value) == 1)
        return opening + ', '.join(map(_source, value)) + comma + closing
    return repr(value)


def _name_variables(value, cfg: dict, key: str):
    """Replace what equals a variable, inside another key, by its name."""
    for name in _VARIABLES:
        if name != key and name in cfg and value and value == cfg[name]:
            return _Name(name)
    if isinstance(value, dict):
        return {k: _name_variables(v, cfg, key) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_name_variables(v, cfg, key) for v in value)
    return value


def name_parts(cfg: dict) -> None:
    """Give mask and teacher a name, to be changed by it."""
    for name, kind, parts in (
        ('mask', 'MUSTMaskGenerator', cfg['train_pipeline']),
        ('teacher', 'EMATeacherHook', cfg['custom_hooks']),
    ):
        found = [part for part in parts if part['type'] == kind]
        if len(found) == 1:
            (cfg[name],) = found


def load_config(path: Path, option: str = '') -> Config:
    """Read a config, such as one that was written here and edited.

    Args:
        path: The config.
        option: What errors begin with.

    Raises:
        ValueError: If it cannot be read.
    """
    try:
        return Config.fromfile(path)
    except Exception as error:  # a config is code
        raise ValueError(
            f'{option}{path} cannot be read: {type(error).__name__}: {error}'
        ) from error
