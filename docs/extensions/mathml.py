"""Equations as MathML, which browsers show without scripts or a network."""

from docutils import nodes
from latex2mathml.converter import convert


def write(translator, node: nodes.Element) -> None:
    """Write an equation, in a line or as a block of its own."""
    block = isinstance(node, nodes.math_block)
    equation = convert(node.astext(), display='block' if block else 'inline')
    if block:
        opening = translator.starttag(node, 'div', classes=['math'])
        equation = f'{opening}{equation}</div>\n'
    translator.body.append(equation)
    raise nodes.SkipNode


def setup(app) -> None:
    """Make it the way in which the site shows equations."""
    app.add_html_math_renderer('mathml', (write, None), (write, None))
    app.config.html_math_renderer = 'mathml'
