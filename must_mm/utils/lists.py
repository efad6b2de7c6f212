"""Lists of names as people keep them: text, CSV, JSON, YAML, Python.

A list is read as what it is, or refused with what to do. The header of a
table, a number before each name or the brackets of a Python list never become
a class.
"""

import ast
import codecs
import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

#: Suffixes of files that a list can be in, beside any text.
SUFFIXES = ('.txt', '.csv', '.tsv', '.json', '.yaml', '.yml', '.names')
# Columns of a table, and keys of a mapping, that names stand in.
_NAME_KEYS = (
    'name',
    'names',
    'class_name',
    'classname',
    'class name',
    'class',
    'classes',
    'label_name',
    'label',
    'labels',
    'category',
    'categories',
    'template',
    'templates',
    'prompt',
    'prompts',
)
_ID_KEYS = ('id', 'index', 'idx', 'class_id', 'class id', 'label_id', 'number')
_SHARE_KEYS = ('share', 'prior', 'count', 'counts', 'weight', 'number', 'n')
_ASSIGNMENT = re.compile(r'^[A-Za-z_]\w*\s*(:[^=]+)?=\s*[\[({]')
_NUMBERED = (
    re.compile(r'^(\d+)\s*[:.,;)\t]?\s+(\S.*)$'),
    re.compile(r'^(\d+)[:,;\t]\s*(\S.*)$'),
)
_NUMBER_LAST = re.compile(r'^(.*\S)[\s,;:\t]+(\d+)$')
_WORDNET = re.compile(r'^n\d{8}[\s,;:]+(\S.*)$')
_MARKED = re.compile(r'^[-*•]\s+(\S.*)$')


_MARKS = (
    (codecs.BOM_UTF8, 'utf-8-sig'),
    (codecs.BOM_UTF16_LE, 'utf-16'),
    (codecs.BOM_UTF16_BE, 'utf-16'),
)


class NoList(ValueError):
    """A file that holds no list of names, with what to do."""


def same_name(name: str) -> str:
    """One of the forms in which Unicode writes a name.

    Macs take letters and accents apart, others put them together.
    """
    return unicodedata.normalize('NFC', name)


def read_text(path: Path) -> str:
    """Read a text of UTF-8, or of UTF-16 with its mark.

    Raises:
        NoList: If it is anything else, with the first line that shows it.
    """
    content = path.read_bytes()
    encoding = next(
        (name for mark, name in _MARKS if content.startswith(mark)), 'utf-8'
    )
    half = content[: len(content) // 2 * 2]
    if encoding == 'utf-8' and half[1::2].count(0) > len(half) // 4:
        encoding = 'utf-16-le'  # without its mark
    if content.startswith((b'PK\x03\x04', b'\xd0\xcf\x11\xe0')):
        raise NoList(
            'is a document of Excel, Word or the like: save it as CSV or text'
        )
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = content[before.rfind(b'\n') + 1 :].splitlines()[0][:60]
        number = before.count(b'\n') + 1
        raise NoList(
            f'is not UTF-8 (line {number}: {line!r}): save it as UTF-8'
        ) from error
    if '\0' in text:
        raise NoList('is no text')
    return text


def read_list(path: Path, commas: bool = True) -> list[str]:
    """Read names from a file, in their order.

    Text with one a line; numbers before or behind each that count up, comment
    lines (``#``) and quotes are left out; one line with commas. CSV with a
    column called name, class or label, in the order of a column of numbers
    if there is one. A JSON or YAML list, of names or of objects with a name;
    an object from numbers to names or the reverse, or below ``names`` or
    ``classes``. A list in Python, assigned to a variable or not.

    Args:
        path: The file.
        commas: Whether one line with commas is a list: prompts have commas.

    Raises:
        NoList: If it cannot be read so, with the reason and the fix.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    data = _structured(text, suffix)
    if data is not None:
        return _clean(_names_of(data))
    lines = _lines(text)
    table = _table(lines, suffix, commas)
    if table is not None:
        return _clean(_column(*table))
    return _clean(_plain(lines, commas))


def read_shares(path: Path) -> dict[str, float]:
    """Read a number for each name: ``name=share`` lines, CSV, JSON, YAML.

    Raises:
        NoList: If it cannot be read so, with the reason and the fix.
    """
    text = read_text(path)
    data = _structured(text, path.suffix.lower())
    if isinstance(data, Mapping):
        inner = [v for v in data.values() if isinstance(v, Mapping)]
        data = inner[0] if len(data) == len(inner) == 1 else data
        pairs = list(data.items())
    elif data is not None:
        pairs = [_pair_of(row) for row in data]
    else:
        lines = _lines(text)
        pairs = list(_rows_of_shares(lines))
    shares = {}
    for name, share in pairs:
        try:
            shares[str(name).strip()] = float(share)
        except (TypeError, ValueError):
            raise NoList(
                f'has {name!r} with {share!r}, which is no number: write '
                'name=share, one a line'
            ) from None
    return shares


def _pair_of(row: object) -> tuple[str, object]:
    if isinstance(row, Mapping):
        keys = {str(key).casefold(): key for key in row}
        name = next((keys[k] for k in _NAME_KEYS if k in keys), None)
        share = next((keys[k] for k in _SHARE_KEYS if k in keys), None)
        if name is not None and share is not None:
            return row[name], row[share]
    if isinstance(row, (list, tuple)) and len(row) == 2:
        return row[0], row[1]
    raise NoList(f'has {row!r} where a name and its share belong')


def _rows_of_shares(lines: list[str]) -> Iterable[tuple[str, str]]:
    equal = [line.rpartition('=') for line in lines]
    if all(sign for _, sign, _ in equal):
        return [(name, share) for name, _, share in equal]
    for delimiter in ('\t', ';', ','):
        rows = _cells(lines, delimiter)
        if all(len(row) >= 2 for row in rows):
            break
    else:
        bad = next(
            line
            for line, (_, sign, _) in zip(lines, equal, strict=True)
            if not sign
        )
        raise NoList(f'has the line {bad!r}, which is not name=share')
    header = [cell.casefold() for cell in rows[0]]
    name, share = 0, len(header) - 1
    if not _is_number(rows[0][share]):
        name = next((header.index(k) for k in _NAME_KEYS if k in header), 0)
        share = next(
            (header.index(k) for k in _SHARE_KEYS if k in header), share
        )
        rows = rows[1:]
    if delimiter == ';':  # where a comma stands before decimals
        rows = [[c.replace(',', '.') for c in row] for row in rows]
    return [(row[name], row[share]) for row in rows]


def _is_number(text: object) -> bool:
    try:
        float(str(text).replace(',', '.'))
    except ValueError:
        return False
    return True


def _clean(names: Iterable[object]) -> list[str]:
    cleaned = []
    for name in names:
        if not isinstance(name, (str, int, float)) or isinstance(name, bool):
            raise NoList(f'has {name!r} where a name belongs')
        name = same_name(str(name)).strip().strip('\ufeff')
        if name:
            cleaned.append(name)
    return cleaned


def _lines(text: str) -> list[str]:
    """Lines with something in them, but comments."""
    lines = [line.strip() for line in re.split(r'\r\n|\r|\n', text)]
    return [line for line in lines if line and not line.startswith('#')]


# ------------------------------------------------------------- JSON and such


def _structured(text: str, suffix: str) -> object | None:
    """What JSON, YAML or Python say; ``None`` for other texts.

    Raises:
        NoList: If the suffix promises one of them and it cannot be read.
    """
    start = text.lstrip()[:1]
    if suffix == '.json' or (start and start in '[{'):
        try:
            return json.loads(text)
        except ValueError as error:
            found = _python(text)
            if found is not None:
                return found
            if suffix == '.json':
                raise NoList(f'is no JSON ({error})') from error
    if start and start in '(' or any(map(_ASSIGNMENT.match, _lines(text))):
        found = _python(text)
        if found is not None:
            return found
    if suffix in ('.yaml', '.yml') or re.search(
        r'^(names|classes|categories):\s*($|[\[{])', text, re.MULTILINE
    ):
        try:
            return yaml.safe_load(text)
        except yaml.YAMLError as error:
            line = str(error).splitlines()[0]
            raise NoList(f'is no YAML ({line})') from error
    return None


def _python(text: str) -> object | None:
    """A list or dict of literals, assigned to a variable or not."""
    try:
        body = ast.parse(text.strip()).body
        values = [
            ast.literal_eval(node.value)
            for node in body
            if isinstance(node, (ast.Expr, ast.Assign, ast.AnnAssign))
            and node.value is not None
        ]
    except (SyntaxError, ValueError):
        return None
    lists = [v for v in values if isinstance(v, (list, tuple, dict))]
    return (
        list(lists[0])
        if lists and isinstance(lists[0], tuple)
        else (lists[0] if lists else None)
    )


def _names_of(data: object) -> list:
    """Names in what JSON or YAML hold.

    Raises:
        NoList: If it is none of the known forms.
    """
    if isinstance(data, list):
        if all(isinstance(row, Mapping) for row in data) and data:
            return _names_of_objects(data)
        return data
    if not isinstance(data, Mapping) or not data:
        raise NoList('holds no list of names')
    keys = {str(key).casefold(): key for key in data}
    # {'names': [...]}, as detectors' data sets have, or categories
    for key in _NAME_KEYS:
        if key in keys and isinstance(data[keys[key]], (list, Mapping)):
            return _names_of(data[keys[key]])
    numbers = [str(key).strip() for key in data]
    if all(number.isdecimal() for number in numbers):
        ordered = sorted(data, key=lambda key: int(str(key)))
        # ImageNet's index has [wnid, name]
        return [
            data[key][-1] if isinstance(data[key], list) else data[key]
            for key in ordered
        ]
    values = list(data.values())
    if all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return sorted(data, key=data.get)
    raise NoList(
        f'is an object with {", ".join(map(repr, list(data)[:3]))}: give a '
        'list of names, or an object from numbers to names'
    )


def _names_of_objects(rows: list[Mapping]) -> list:
    keys = {str(key).casefold(): key for key in rows[0]}
    name = next((keys[key] for key in _NAME_KEYS if key in keys), None)
    if name is None or any(name not in row for row in rows):
        raise NoList(
            f'is a list of objects with {", ".join(map(repr, rows[0]))}: '
            "one of them must be called 'name'"
        )
    number = next((keys[key] for key in _ID_KEYS if key in keys), None)
    if number is not None and all(
        isinstance(row.get(number), int) for row in rows
    ):
        rows = sorted(rows, key=lambda row: row[number])
    return [row[name] for row in rows]


# -------------------------------------------------------------- lines, tables


def _cells(lines: list[str], delimiter: str) -> list[list[str]]:
    reader = csv.reader(
        io.StringIO('\n'.join(lines)),
        delimiter=delimiter,
        skipinitialspace=True,
    )
    return [[cell.strip() for cell in row] for row in reader if row]


def _table(
    lines: list[str], suffix: str, commas: bool
) -> tuple[list[str] | None, list[list[str]]] | None:
    """Header and rows, where lines are those of a table.

    They are in a file called ``.csv`` or ``.tsv``, or if the first of them
    names columns.
    """
    if not lines:
        return None
    for delimiter in ('\t', ';', ','):
        rows = _cells(lines, delimiter)
        header = [cell.casefold() for cell in rows[0]]
        named = any(cell in _NAME_KEYS for cell in header)
        many = len(header) > 1 and all(len(r) == len(header) for r in rows)
        if many and (named or any(cell in _ID_KEYS for cell in header)):
            return header, rows[1:]
        if many and len(rows) > 1 and suffix in ('.csv', '.tsv'):
            return None, rows
        if many and len(rows) == 1 and commas and suffix in ('.csv', '.tsv'):
            return None, [[cell] for cell in rows[0]]
    if suffix in ('.csv', '.tsv'):
        rows = _cells(lines, ',')
        if all(len(row) == 1 for row in rows):
            if len(rows) > 1 and rows[0][0].casefold() in _NAME_KEYS:
                return ['name'], rows[1:]
            return None, rows
        counts = sorted({len(row) for row in rows})
        raise NoList(
            f'has rows of {" and of ".join(map(str, counts))} cells: put '
            'names with commas into quotes, or one a line into a .txt'
        )
    return None


def _column(header: list[str] | None, rows: list[list[str]]) -> list[str]:
    """The column of names.

    Raises:
        NoList: If there is none.
    """
    if not rows:
        return []
    numbers = [
        index
        for index in range(len(rows[0]))
        if all(row[index].isdecimal() for row in rows)
    ]
    if header is None:
        columns = [i for i in range(len(rows[0])) if i not in numbers]
        if len(rows[0]) == 1:
            columns = [0]
        if len(columns) != 1:
            raise NoList(
                f'has {len(rows[0])} columns and no header: call the one of '
                "names 'name' in the first row"
            )
        column = columns[0]
    else:
        column = next((header.index(k) for k in _NAME_KEYS if k in header), -1)
        others = [i for i in range(len(header)) if i not in numbers]
        # 'label' may be the number, beside a column of another name
        if (column in numbers or column < 0) and len(others) == 1:
            column = others[0]
        if column < 0:
            raise NoList(
                f'has the columns {", ".join(header)}: call the one of names '
                "'name'"
            )
    order = [i for i in numbers if i != column]
    if order and len({row[order[0]] for row in rows}) == len(rows):
        rows = sorted(rows, key=lambda row: int(row[order[0]]))
    return [row[column] for row in rows]


def _plain(lines: list[str], commas: bool) -> list[str]:
    """Names of a text with one a line, or of one line with commas."""
    if len(lines) == 1 and commas and ',' in lines[0]:
        return [_unquoted(cell) for cell in _cells(lines, ',')[0]]
    for pattern in _NUMBERED:
        found = _all_match(pattern, lines)
        if _counts_up(found, number=1, name=2):
            return [_unquoted(match[2]) for match in found]
    found = _all_match(_NUMBER_LAST, lines)
    if _counts_up(found, number=2, name=1):
        return [_unquoted(match[1]) for match in found]
    for pattern in (_WORDNET, _MARKED):
        found = _all_match(pattern, lines)
        if found:
            return [_unquoted(match[1]) for match in found]
    if lines and lines[0].casefold() in _NAME_KEYS and len(lines) > 2:
        lines = lines[1:]  # the header of a table of one column
    return [_unquoted(line) for line in lines]


def _all_match(pattern: re.Pattern, lines: list[str]) -> list[re.Match]:
    if len(lines) < 2:
        return []
    found = [pattern.match(line) for line in lines]
    return found if all(found) else []


def _counts_up(found: list[re.Match], number: int, name: int) -> bool:
    """Whether numbers count lines whose names differ without them."""
    if not found or len({match[name] for match in found}) < len(found):
        return False
    numbers = [int(match[number]) for match in found]
    first = numbers[0]
    return first in (0, 1) and numbers == list(
        range(first, first + len(numbers))
    )


def _unquoted(name: str) -> str:
    """A name without quotes around it and a comma behind them."""
    bare = name.rstrip(',').strip()
    for quote in ('"', "'"):
        if len(bare) > 1 and bare[0] == bare[-1] == quote:
            inner = bare[1:-1]
            if quote not in inner:
                return inner
    return name
