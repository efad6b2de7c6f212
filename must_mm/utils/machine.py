"""What this process may use: device, memory, cores, shared memory.

Containers allow less than the machine has; their limits count.
"""

import os
import shutil
from pathlib import Path

import psutil
import torch
from mmengine.device import get_device

_CGROUPS = Path('/sys/fs/cgroup')
_OWN = Path('/proc/self/cgroup')
_SHARED = Path('/dev/shm')


def device_type() -> str:
    """The device that MMEngine puts models on: ``cuda``, ``mps``, ``cpu``."""
    return get_device().partition(':')[0]


def free_memory(device: str = 'cpu') -> int:
    """Bytes of a device that this process can still get.

    Args:
        device: As :func:`device_type` names it. Apple's shares its memory
            with the processor.
    """
    if device == 'cuda':
        return torch.cuda.mem_get_info()[0]
    free = psutil.virtual_memory().available
    left = cgroup_memory()
    return free if left is None else min(free, left)


def synchronize() -> None:
    """Wait until the device has done what it was given."""
    device = device_type()
    if device in ('cuda', 'mps'):
        getattr(torch, device).synchronize()


def cores() -> int:
    """Cores that this process may run on, at least 1."""
    if hasattr(os, 'sched_getaffinity'):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cgroup_cores()
    return max(1, count if quota is None else min(count, round(quota)))


def shared_memory() -> int | None:
    """Free bytes of the shared memory that batches pass through.

    Containers often have 64 MiB. ``None`` where a file system does not bound
    it.
    """
    if not _SHARED.is_dir():
        return None
    return shutil.disk_usage(_SHARED).free


def _groups(controller: str) -> list[Path]:
    """Folders of this process's control groups, from its own to the root."""
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        lines = []
    roots = [(_CGROUPS, ''), (_CGROUPS / controller, controller)]
    found = []
    for root, name in roots:
        paths = [
            line.split(':', 2)[2]
            for line in lines
            if line.count(':') >= 2
            and name in line.split(':', 2)[1].split(',')
        ]
        # within a container the path may be the host's
        for path in [*paths, '/']:
            own = root / path.lstrip('/')
            while own.is_relative_to(root):
                if own not in found:
                    found.append(own)
                own = own.parent
    return found


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None  # not there, or 'max'


def cgroup_memory() -> int | None:
    """Bytes that the control groups leave; ``None`` without a limit."""
    left = []
    for group in _groups('memory'):
        for limit, used in (
            ('memory.max', 'memory.current'),
            ('memory.limit_in_bytes', 'memory.usage_in_bytes'),
        ):
            most = _number(group / limit)
            if most is None or most >= 2**60:  # version 1 without a limit
                continue
            taken = _number(group / used) or 0
            left.append(most - taken + _reclaimable(group))
    return max(0, min(left)) if left else None


def _reclaimable(group: Path) -> int:
    """Bytes of files that were read and can be dropped at once."""
    try:
        lines = (group / 'memory.stat').read_text().splitlines()
        stat = dict(line.split() for line in lines)
        key = 'total_inactive_file'
        return int(stat.get(key, stat.get('inactive_file', 0)))
    except (OSError, ValueError):
        return 0


def cgroup_cores() -> float | None:
    """Cores that the control groups allow; ``None`` without a limit."""
    allowed = []
    for group in _groups('cpu'):
        try:
            quota, period = (group / 'cpu.max').read_text().split()
            allowed.append(int(quota) / int(period))
        except (OSError, ValueError):
            quota = _number(group / 'cpu.cfs_quota_us')
            period = _number(group / 'cpu.cfs_period_us')
            if quota and period and quota > 0:
                allowed.append(quota / period)
    return min(allowed) if allowed else None
