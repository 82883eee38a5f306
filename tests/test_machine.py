"""Settings of the machine are refused clearly and are part of the fingerprint."""

import pytest
import torch

from minigpt import machine
from minigpt.errors import ParamsError
from minigpt.machine import Gpu, Machine

TORCHRUN = {
    "WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1",
}  # fmt: skip
A, B = Gpu("NVIDIA A", "GPU-aaaa-1"), Gpu("NVIDIA B", "GPU-bbbb-2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINIGPT_THREADS", "0"),
        ("MINIGPT_THREADS", "many"),
        ("MINIGPT_THREADS", "100000"),
        ("MINIGPT_DEVICE", "abacus"),
        ("MINIGPT_CHECKPOINT_SECONDS", "nan"),
        ("MINIGPT_COMPILE", "perhaps"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ParamsError, match=f"{name}='{value}'"):
        Machine.load()


def test_an_empty_setting_is_none(monkeypatch):
    monkeypatch.setenv("MINIGPT_THREADS", "")
    assert Machine.load().threads >= 1


def test_what_changes_bytes_is_in_the_fingerprint_and_what_does_not_is_not(monkeypatch):
    before = Machine.load().fingerprint()
    monkeypatch.setenv("MINIGPT_CHECKPOINT_SECONDS", "3")
    assert Machine.load().fingerprint() == before
    monkeypatch.setenv("MINIGPT_THREADS", str(before["threads"] + 1))
    assert Machine.load().fingerprint() != before


@pytest.fixture
def with_gpus(monkeypatch):
    """A machine with these GPUs, where torch is built for them (or not)."""
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "WORLD_SIZE", "MINIGPT_DEVICE"):
        monkeypatch.delenv(name, raising=False)

    def use(*installed, builds=("cuda",), **environment):
        monkeypatch.setattr(machine, "gpus", lambda: list(installed))
        monkeypatch.setattr(machine, "torch_builds", lambda: set(builds))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return Machine.load().fingerprint()["device"]

    return use


def test_the_device_is_the_gpu_only_where_torch_is_built_for_it(with_gpus):
    assert with_gpus(A) == "NVIDIA A"
    assert with_gpus(A, builds=()) == "cpu"
    assert with_gpus() == "cpu"
    assert with_gpus(A, MINIGPT_DEVICE="cpu") == "cpu"


@pytest.mark.parametrize(
    ("visible", "device"),
    [
        ("", "cpu"),
        ("-1", "cpu"),
        ("1", "NVIDIA B"),
        ("1,0", "NVIDIA B"),
        ("7,0", "cpu"),
        ("GPU-bbbb", "NVIDIA B"),
        ("GPU-cccc", "cpu"),
        ("MIG-1-2", "MIG-1-2"),
    ],
)
def test_the_device_is_the_one_that_the_environment_lets_torch_see(with_gpus, visible, device):
    environment = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": visible}
    assert with_gpus(A, B, **environment) == device


def test_where_only_cuda_knows_the_order_no_two_choices_share_a_device(with_gpus):
    chosen = [with_gpus(A, B)] + [with_gpus(A, B, CUDA_VISIBLE_DEVICES=n) for n in ("0", "1")]
    assert len(set(chosen)) == 3


def test_the_number_of_processes_is_said_where_there_is_more_than_one(with_gpus, monkeypatch):
    with_gpus(A, B, CUDA_DEVICE_ORDER="PCI_BUS_ID")
    one = Machine.load().fingerprint()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert Machine.load().fingerprint() == one
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert Machine.load().fingerprint() == one | {"device": "NVIDIA A + NVIDIA B", "processes": 2}


@pytest.mark.parametrize("size", ["abc", "0", "-2", "1.5", " "])
def test_a_number_of_processes_that_is_none_is_named(monkeypatch, size):
    monkeypatch.setenv("WORLD_SIZE", size)
    with pytest.raises(ParamsError, match=f"WORLD_SIZE='{size}'.* Unset WORLD_SIZE"):
        Machine.load().fingerprint()


def test_a_number_of_processes_that_torchrun_did_not_set_is_refused(monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert machine.processes() == 2
    monkeypatch.delenv("LOCAL_RANK")
    monkeypatch.setenv("MASTER_PORT", "")
    with pytest.raises(ParamsError, match="WORLD_SIZE=2, but LOCAL_RANK, MASTER_PORT not set"):
        Machine.load().check()


def test_the_driver_tells_of_gpus_in_proc_and_torch_of_its_build(tmp_path, monkeypatch):
    machine.gpus.cache_clear()
    for bus, gpu in (("0000:18:00.0", A), ("0000:2a:00.0", B)):
        information = tmp_path / "proc/driver/nvidia/gpus" / bus / "information"
        information.parent.mkdir(parents=True)
        information.write_text(
            f"Model: \t\t {gpu.name}\nIRQ:   \t\t 21\nGPU UUID: \t {gpu.uuid}\nBus Type: \t PCIe\n"
        )
    honest = machine.Path
    monkeypatch.setattr(
        machine, "Path", lambda p: honest(str(p).replace("/proc", f"{tmp_path}/proc"))
    )
    assert machine.gpus() == [A, B]
    machine.gpus.cache_clear()
    monkeypatch.undo()
    built = {name for name in ("cuda", "hip") if getattr(torch.version, name)}
    assert machine.torch_builds() == built


def test_the_fingerprint_names_the_device_that_torch_uses():
    device = Machine.load().fingerprint()["device"]
    there = torch.cuda.is_available()
    assert device == (torch.cuda.get_device_name(0) if there else "cpu")
