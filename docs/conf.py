"""The documentation site: ``python -m sphinx -W docs work_dirs/docs``.

Pages are Markdown that reads as well where the repository is browsed; what
differs on the site is done by the extensions beside this file.
"""

import sys
from pathlib import Path

import must_mm

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / 'extensions'))

project = 'must_mm'
author = copyright = 'the authors of must_mm'
version = release = must_mm.__version__
extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'api_pages',
    'mathml',
    'repository_pages',
]
exclude_patterns = ['extensions']

html_theme = 'furo'
html_title = f'{project} {release}'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = html_show_sphinx = False

myst_enable_extensions = ['dollarmath']
myst_heading_anchors = 4

autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_typehints_format = 'short'
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
# no member is imported, and following them ends in builtins
viewcode_follow_imported_members = False
