"""Packaging of must_mm: configs and tools travel inside the package.

OpenMMLab's tools look for a package's configs under ``<package>/.mim``. A
built wheel gets copies there, an editable install gets links.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

ROOT = Path(__file__).resolve().parent
SHIPPED = ('configs', 'tools', 'model-index.yml')
#: Of no use without the repository around them.
LEFT_OUT = (
    '__pycache__',
    'benchmark.py',
    'maect_quickstart.sh',
    'quickstart.sh',
    'run_tests.sh',
    'setup_env.sh',
)


class BuildWithConfigs(build_py):
    """Copies configs and tools into the built package."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, 'must_mm', '.mim')
        for name in SHIPPED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(
                    source,
                    target / name,
                    dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns(*LEFT_OUT),
                )
            elif source.is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)


class EditableWithConfigs(editable_wheel):
    """Links configs and tools into the package in the source tree."""

    def run(self):
        target = ROOT / 'must_mm' / '.mim'
        target.mkdir(exist_ok=True)
        for name in SHIPPED:
            link = target / name
            if (ROOT / name).exists() and not link.exists():
                link.symlink_to(Path('..', '..', name))
        super().run()


def read_version() -> str:
    """Version of the package, without importing it."""
    init = ROOT / 'must_mm_cli' / '__init__.py'
    for line in init.read_text().splitlines():
        if line.startswith('__version__'):
            return line.split("'")[1]
    raise RuntimeError('must_mm_cli/__init__.py states no __version__')


DOCS = [
    'furo',
    'jupytext',
    'latex2mathml',
    'myst-parser',
    'sphinx',
    'sphinx-copybutton',
]
ONNX = ['onnx', 'onnxruntime', 'onnxscript']

setup(
    name='must_mm',
    version=read_version(),
    description='Masked unsupervised self-training for MMPretrain: better '
    'zero-shot classifiers from unlabeled images',
    author='The authors of must_mm',
    keywords=[
        'CLIP',
        'MAE-CT',
        'MMPretrain',
        'MUST',
        'image classification',
        'self-training',
        'unsupervised domain adaptation',
        'zero-shot',
    ],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Environment :: Console',
        'Intended Audience :: Developers',
        'Intended Audience :: Science/Research',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3',
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Programming Language :: Python :: 3.13',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    project_urls={
        'Paper (MUST)': 'https://arxiv.org/abs/2206.02967',
        'Paper (MAE-CT)': 'https://arxiv.org/abs/2304.10520',
        'MMPretrain': 'https://github.com/open-mmlab/mmpretrain',
    },
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['must_mm_cli', 'must_mm', 'must_mm.*']),
    package_data={
        'must_mm.adapt': ['report.html.j2', 'review.js'],
        'must_mm.datasets': ['prompts/*.json'],
    },
    entry_points={
        'console_scripts': ['must-adapt = must_mm_cli.command:main']
    },
    install_requires=[
        'filelock',
        'jinja2',
        'numpy',
        'open_clip_torch>=3.0',
        'pillow',
        'psutil',
        'pyyaml',
        'rich',
        'safetensors',
        'scikit-learn',
        'scipy',
        'torch>=2.6',
        'torchvision',
        'yapf',
    ],
    # The two engines share their import names, so neither is a fixed
    # dependency: one of them, never both.
    extras_require={
        'upstream': [
            'mmcv-lite>=2.0',
            'mmengine>=0.10',
            'mmpretrain>=1.2',
            'setuptools<82',
        ],
        'onedl': ['onedl-mmengine', 'onedl-mmpretrain', 'opencv-python'],
        'docs': DOCS,
        'onnx': ONNX,
        'heif': ['pillow-heif'],
        # 5 and later take a name that MMPretrain imports away
        'siglip': ['sentencepiece', 'transformers<5'],
        'quickstart': ['matplotlib'],
        'test': [
            *DOCS,
            *ONNX,
            'hypothesis',
            'import-linter',
            'matplotlib',
            'pillow-heif',
            'pytest',
            'pytest-xdist',
            'ruff',
            'selenium',
            'twine',
        ],
    },
    cmdclass={
        'build_py': BuildWithConfigs,
        'editable_wheel': EditableWithConfigs,
    },
    zip_safe=False,
)
