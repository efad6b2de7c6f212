"""What a benchmark ran on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def processor() -> str:
    """Name of the processor and number of cores this process may use."""
    name = _cpuinfo('model name') or platform.processor()
    cores = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count()))
    return f'{name or platform.machine()}, {len(cores(0))} cores'


def _cpuinfo(key: str) -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return ''
    values = (line.split(':', 1)[1] for line in lines if line.startswith(key))
    return next(values, '').strip()


def versions(*packages: str) -> str:
    """Versions of the packages that are installed."""
    found = [f'Python {platform.python_version()}']
    for package in packages:
        try:
            found.append(f'{package} {version(package)}')
        except PackageNotFoundError:  # another distribution of the same
            continue
    return ', '.join(found)
