"""Lists of names are read as what they are, or refused with the fix."""

import json
import unicodedata

import pytest

from must_mm.utils.lists import NoList, read_list, read_shares, same_name

NAMES = ['zero', 'one', 'two']
TEXT = 'zero\none\ntwo\n'
READ = {
    'plain.txt': TEXT,
    'bom.txt': TEXT.encode('utf-8-sig'),
    'utf16.txt': TEXT.encode('utf-16'),
    'utf16_be.txt': b'\xfe\xff' + TEXT.encode('utf-16-be'),
    'utf16_without_mark.txt': TEXT.encode('utf-16-le'),
    'crlf.txt': b'zero\r\none\r\ntwo\r\n\r\n',
    'cr.txt': b'zero\rone\rtwo\r',
    'one_line.txt': 'zero, one, two\n',
    'one_line_quoted.txt': '"zero", "one", "two"\n',
    'comments.txt': '# my classes\nzero\n#two more\none\ntwo\n',
    'numbered.txt': '0 zero\n1 one\n2 two\n',
    'from_one.txt': '1. zero\n2. one\n3. two\n',
    'colon.txt': '0: zero\n1: one\n2: two\n',
    'tabs.txt': '0\tzero\n1\tone\n2\ttwo\n',
    'comma.txt': '0,zero\n1,one\n2,two\n',
    'number_last.txt': 'zero 0\none 1\ntwo 2\n',
    'wordnet.txt': 'n01440764 zero\nn01443537 one\nn01484850 two\n',
    'bullets.txt': '- zero\n- one\n- two\n',
    'quoted_lines.txt': "'zero',\n'one',\n'two',\n",
    'header.txt': 'name\nzero\none\ntwo\n',
    'quoted.csv': '"zero","one","two"\n',
    'one_column.csv': 'zero\none\ntwo\n',
    'header.csv': 'id,name\n0,zero\n1,one\n2,two\n',
    'header_as.txt': 'id,name\n0,zero\n1,one\n2,two\n',
    'order.csv': 'name,id\ntwo,2\nzero,0\none,1\n',
    'semicolon.csv': 'id;name\r\n0;zero\r\n1;one\r\n2;two\r\n'.encode(
        'utf-8-sig'
    ),
    'excel_utf16.csv': 'id\tname\n0\tzero\n1\tone\n2\ttwo\n'.encode('utf-16'),
    'label_is_number.csv': 'label,text\n0,zero\n1,one\n2,two\n',
    'no_header.csv': '0,zero\n1,one\n2,two\n',
    'more.csv': 'id,class_name,count\n0,zero,5\n1,one,6\n2,two,7\n',
    'x.tsv': 'class\tfolder\nzero\ta\none\tb\ntwo\tc\n',
    'list.json': json.dumps(NAMES),
    'bom.json': json.dumps(NAMES).encode('utf-8-sig'),
    'json_as.txt': json.dumps(NAMES),
    'id_to_name.json': '{"1": "one", "0": "zero", "2": "two"}',
    'name_to_id.json': '{"one": 1, "zero": 0, "two": 2}',
    'imagenet.json': '{"0": ["n0", "zero"], "1": ["n1", "one"], '
    '"2": ["n2", "two"]}',
    'coco.json': '{"categories": [{"id": 2, "name": "one"}, '
    '{"id": 1, "name": "zero"}, {"id": 3, "name": "two"}], "images": []}',
    'names.json': '{"nc": 3, "names": ["zero", "one", "two"]}',
    'id2label.json': '{"labels": {"0": "zero", "1": "one", "2": "two"}}',
    'yolo.yaml': 'nc: 3\nnames:\n  0: zero\n  1: one\n  2: two\n',
    'names.yaml': 'train: a/b\nnames: [zero, one, two]\n',
    'list.yml': '- zero\n- one\n- two\n',
    'yaml_as.txt': 'names:\n- zero\n- one\n- two\n',
    'python.txt': "CLASSES = ['zero', 'one', 'two']\n",
    'python.py': "# names\nclasses = (\n  'zero',\n  'one',\n  'two',\n)",
    'bare_python.txt': "['zero', 'one', 'two']",
    'dict.txt': "{0: 'zero', 1: 'one', 2: 'two'}",
    'set.txt': "names = {'zero': 0, 'one': 1, 'two': 2}",
}


def write(tmp_path, name, content):
    path = tmp_path / name
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(content)
    return path


@pytest.mark.parametrize('name', READ)
def test_every_form_gives_the_names(tmp_path, name):
    assert read_list(write(tmp_path, name, READ[name])) == NAMES


AS_THEY_ARE = {
    'commas.txt': ['Washington, D.C.', 'tench, Tinca tinca'],
    'marks.txt': ['A/B testing (sample)', "O'Brien's", '=SUM(A1)'],
    'numbers.txt': ['2 stroke engine', '4 stroke engine'],
    'digits.txt': ['0', '1', '2'],
    'counted.txt': ['thing 0', 'thing 1', 'thing 2'],
    'years.txt': ['model of 1999', 'model of 2005'],
    'braces.txt': ['{curly}', '[square]'],
    'dash.txt': ['t-shirt', '-40 degrees'],
    'quotes.txt': ['the "best" one', "'twas the night"],
    'letters.txt': ['Münster', 'café', '日本語', 'عربى'],
}


@pytest.mark.parametrize('name', AS_THEY_ARE)
def test_names_that_only_look_like_something_stay(tmp_path, name):
    names = AS_THEY_ARE[name]
    assert read_list(write(tmp_path, name, '\n'.join(names))) == names


REFUSED = {
    'latin1.txt': ('zero\ncafé\n'.encode('latin-1'), 'line 2.*UTF-8'),
    'list.xlsx': (b'PK\x03\x04' + b'\0' * 30, 'Excel.*save it as CSV'),
    'binary.txt': (b'ab\0cdefgh', 'no text'),
    'two_columns.csv': ('a,b\nc,d\n', "no header.*'name'"),
    'strange_header.csv': ('id,colour,taste\n0,a,b\n', "colour.*'name'"),
    'uneven.csv': ('Washington, D.C.\nParis\n', 'quotes'),
    'broken.json': ('["zero", ', 'no JSON'),
    'object.json': ('{"a": {"b": 1}, "c": 2}', 'list of names'),
    'objects.json': ('[{"x": 1}]', "called 'name'"),
    'nested.json': ('[["zero"]]', 'where a name belongs'),
    'broken.yaml': ('names: [zero', 'no YAML'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_the_others_are_refused_in_one_line(tmp_path, name):
    content, message = REFUSED[name]
    with pytest.raises(NoList, match=message) as error:
        read_list(write(tmp_path, name, content))
    assert '\n' not in str(error.value)


def test_prompts_keep_their_commas(tmp_path):
    path = write(tmp_path, 't.txt', 'a photo of a {}, a type of pet.\n')
    assert read_list(path, commas=False) == ['a photo of a {}, a type of pet.']
    path = write(tmp_path, 't.json', '["a {}.", "the {}, here"]')
    assert read_list(path, commas=False) == ['a {}.', 'the {}, here']


def test_one_form_of_unicode(tmp_path):
    apart = unicodedata.normalize('NFD', 'Müller é')
    assert apart != 'Müller é'
    path = write(tmp_path, 'x.txt', f'{apart}\nb')
    assert read_list(path) == ['Müller é', 'b']
    assert same_name(apart) == 'Müller é'


SHARES = {
    'x.txt': 'zero=1\none = 2\n# more\ntwo=3.5\n',
    'bom.txt': 'zero=1\none=2\ntwo=3.5'.encode('utf-8-sig'),
    'x.csv': 'name,share\nzero,1\none,2\ntwo,3.5\n',
    'bare.csv': 'zero,1\none,2\ntwo,3.5\n',
    'ids.csv': 'id,name,count\n0,zero,1\n1,one,2\n2,two,3.5\n',
    'german.csv': 'name;share\nzero;1\none;2,0\ntwo;3,5\n',
    'x.json': '{"zero": 1, "one": 2, "two": 3.5}',
    'inner.json': '{"prior": {"zero": 1, "one": 2, "two": 3.5}}',
    'rows.json': '[{"name": "zero", "share": 1}, {"name": "one", '
    '"share": 2}, {"name": "two", "share": 3.5}]',
    'x.yaml': 'zero: 1\none: 2\ntwo: 3.5\n',
    'python.txt': "{'zero': 1, 'one': 2, 'two': 3.5}",
}


@pytest.mark.parametrize('name', SHARES)
def test_shares_in_every_form(tmp_path, name):
    found = read_shares(write(tmp_path, name, SHARES[name]))
    assert found == dict(zero=1, one=2, two=3.5)


@pytest.mark.parametrize(
    ('content', 'message'),
    [('zero\none', "'zero'.*name=share"), ('zero=a\none=1', "'a'.*no number")],
)
def test_shares_that_are_none(tmp_path, content, message):
    with pytest.raises(NoList, match=message):
        read_shares(write(tmp_path, 'x.txt', content))
