"""What a figure was measured on."""

import os
import platform
from pathlib import Path

import torch

from must_mm.versions import installed_versions


def describe(device: str) -> str:
    """Name processor, instructions for bfloat16, threads and versions."""
    if device == 'cuda':
        return f'{torch.cuda.get_device_name()}; {_versions()}'
    bfloat16 = torch.backends.mkldnn.is_available() and any(
        word.startswith(('avx512_bf16', 'amx_bf16')) for word in _flags()
    )
    return (
        f'{_processor()}, {os.cpu_count()} cores, '
        f'{"with" if bfloat16 else "without"} instructions for bfloat16, '
        f'{torch.get_num_threads()} threads; {_versions()}'
    )


def _cpuinfo(key: str) -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    return next(
        (line.split(':')[1].strip() for line in lines if key in line), ''
    )


def _processor() -> str:
    return _cpuinfo('model name') or platform.processor()


def _flags() -> list[str]:
    return _cpuinfo('flags').split()


def _versions() -> str:
    return ', '.join(
        f'{name} {version}' for name, version in installed_versions().items()
    )
