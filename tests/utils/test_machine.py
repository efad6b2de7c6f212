"""What a process may use, in containers and on other systems."""

import os
from types import SimpleNamespace

import psutil
import pytest
import torch

from must_mm.evaluation.knn import knn_accuracy
from must_mm.utils import machine
from tests.utils.no_float64 import NoFloat64

MIB = 2**20


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """No control groups; write some."""
    monkeypatch.setattr(machine, '_CGROUPS', tmp_path)
    monkeypatch.setattr(machine, '_OWN', tmp_path / 'own')

    def write(**files):
        for name, text in files.items():
            path = tmp_path / name.replace('__', '/').replace('_dot_', '.')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def test_without_limits(groups, monkeypatch):
    assert machine.cgroup_memory() is None is machine.cgroup_cores()
    groups(memory_dot_max='max\n', cpu_dot_max='max 100000\n')
    assert machine.cgroup_memory() is None is machine.cgroup_cores()
    free = psutil.virtual_memory().available
    assert machine.free_memory() == pytest.approx(free, rel=0.1)


def test_version_2_in_a_container(groups):
    groups(
        own='0::/\n',
        memory_dot_max=f'{512 * MIB}\n',
        memory_dot_current=f'{300 * MIB}\n',
        memory_dot_stat=f'anon 5\ninactive_file {100 * MIB}\n',
        cpu_dot_max='150000 100000\n',
    )
    assert machine.cgroup_memory() == 312 * MIB == machine.free_memory()
    assert machine.cgroup_cores() == 1.5
    assert machine.cores() <= 2


def test_the_tightest_group_counts(groups):
    """A service within a slice: the path is that of the process."""
    groups(
        own='0::/a/b\n',
        a__memory_dot_max=f'{100 * MIB}\n',
        a__b__memory_dot_max=f'{200 * MIB}\n',
    )
    assert machine.cgroup_memory() == 100 * MIB


def test_version_1(groups):
    folder = 'memory__'
    files = {
        'limit_in_bytes': 400 * MIB,
        'usage_in_bytes': 500 * MIB,
    }
    groups(
        own='5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n',
        **{f'{folder}memory_dot_{k}': f'{v}\n' for k, v in files.items()},
        cpu__cpu_dot_cfs_quota_us='200000',
        cpu__cpu_dot_cfs_period_us='100000',
    )
    assert machine.cgroup_memory() == 0
    assert machine.cgroup_cores() == 2
    groups(memory__memory_dot_limit_in_bytes=str(2**63 - 4096))
    assert machine.cgroup_memory() is None


def test_shared_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, '_SHARED', tmp_path)
    usage = SimpleNamespace(free=64 * MIB)
    monkeypatch.setattr(machine.shutil, 'disk_usage', lambda _: usage)
    assert machine.shared_memory() == 64 * MIB
    monkeypatch.setattr(machine, '_SHARED', tmp_path / 'windows')
    assert machine.shared_memory() is None


def test_a_system_without_linux_files(tmp_path, monkeypatch):
    """Windows and macOS: no affinity, no sysconf, no groups, no /dev/shm."""
    monkeypatch.delattr(os, 'sched_getaffinity')
    monkeypatch.delattr(os, 'sysconf')
    for name in ('_CGROUPS', '_OWN', '_SHARED'):
        monkeypatch.setattr(machine, name, tmp_path / 'gone')
    monkeypatch.setattr(os, 'cpu_count', lambda: 6)
    assert machine.cores() == 6
    assert machine.free_memory('mps') > MIB
    assert machine.shared_memory() is None


@pytest.mark.parametrize('device', ['cpu', 'cuda:1', 'mps'])
def test_one_place_chooses_the_device(monkeypatch, device):
    monkeypatch.setattr(machine, 'get_device', lambda: device)
    assert machine.device_type() == device.partition(':')[0]


def test_the_stand_in_for_apples_devices_works():
    with NoFloat64(), pytest.raises(TypeError, match='float64'):
        torch.ones(2).double()


def test_neighbours_need_no_double_precision():
    features, labels = torch.randn(8, 4), torch.arange(8) % 2
    with NoFloat64():
        found = knn_accuracy(features, labels, features, labels, k=1)
    assert found == 1
