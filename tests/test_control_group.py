"""Limits of control groups: nested groups of version 2 and of version 1, and what the planning makes of them."""

import pytest

from noisewise import control_group, threads
from noisewise.predict import memory

GB = 1 << 30


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Writes a tree of control groups: the text of /proc/self/cgroup, and files by name."""

    def write(groups, **files):
        (tmp_path / "self").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "root" / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(control_group, "GROUPS_OF_PROCESS", tmp_path / "self")
    monkeypatch.setattr(control_group, "ROOT", tmp_path / "root")
    return write


def group(place, limit, used, cpu="max 100000"):
    """Files of a group of version 2."""
    start = f"{place}__" if place else ""
    return {f"{start}memory_dot_max": limit, f"{start}memory_dot_current": str(used), f"{start}cpu_dot_max": cpu}


def test_the_smallest_limit_of_all_levels_counts(tree):
    files = group("", "max", 0) | group("slurm", str(8 * GB), 5 * GB, "300000 100000")
    files |= group("slurm__job", str(4 * GB), 2 * GB, "150000 100000") | group("slurm__job__step", "max", GB)
    tree("0::/slurm/job/step\n", **files)
    assert control_group.memory_bytes() == 2 * GB
    assert control_group.cpu_cores() == 1.5
    tree("0::/slurm\n")
    assert control_group.memory_bytes() == 3 * GB and control_group.cpu_cores() == 3
    tree("0::/elsewhere\n")
    assert control_group.memory_bytes() is None and control_group.cpu_cores() is None


def test_a_container_sees_only_its_own_group_as_the_root(tree):
    tree("0::/docker/0123/unseen\n", **group("", str(2 * GB), GB, "50000 100000"))
    assert control_group.memory_bytes() == GB and control_group.cpu_cores() == 0.5
    tree("0::/../../outside\n")
    assert control_group.memory_bytes() == GB


def test_version_1_has_a_tree_for_each_controller(tree):
    limit, used, stat = "memory_dot_limit_in_bytes", "memory_dot_usage_in_bytes", "memory_dot_stat"
    tree(
        "9:name=systemd:/x\n4:cpu,cpuacct:/job\n3:memory:/uid/job\n",
        **{
            f"memory__{limit}": str(2**63 - 4096), f"memory__{used}": "0",
            f"memory__uid__{limit}": str(6 * GB), f"memory__uid__{used}": str(4 * GB),
            f"memory__uid__job__{limit}": str(3 * GB), f"memory__uid__job__{used}": str(2 * GB),
            f"memory__uid__job__{stat}": f"cache 5\ntotal_inactive_file {GB // 2}\n",
            "cpu__job__cpu_dot_cfs_quota_us": "250000", "cpu__job__cpu_dot_cfs_period_us": "100000",
            "cpu__cpu_dot_cfs_quota_us": "-1", "cpu__cpu_dot_cfs_period_us": "100000",
        },
    )  # fmt: skip
    assert control_group.memory_bytes() == 1.5 * GB
    assert control_group.cpu_cores() == 2.5


@pytest.mark.parametrize("text", ["", "nonsense", "0::", "1:2", "::\n::::\n", "4:memory:"])
def test_groups_that_cannot_be_read_are_no_limit(tree, text):
    tree(text, memory_dot_max="x", cpu_dot_max="0 0")
    assert control_group.memory_bytes() is None and control_group.cpu_cores() is None


def test_memory_and_threads_are_planned_within_the_limits(tree, monkeypatch):
    tree("0::/job\n", **group("job", str(GB), GB // 2, "100000 100000"))
    monkeypatch.setattr(memory, "_available", lambda: 64 * GB)
    assert memory.free_bytes() == GB // 2
    assert threads.available() == 1
    tree("0::/job\n", **group("job", str(GB), 2 * GB))
    assert memory.free_bytes() == 0
