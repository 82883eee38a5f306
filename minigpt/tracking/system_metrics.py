"""The load of the machine while a stage trains, under the names that MLflow draws as such."""

import os
import threading
from collections.abc import Callable, Mapping

INTERVAL_SECONDS = 5.0
Record = Callable[[Mapping[str, float], int], None]


class SystemMetrics:
    """A thread that measures every few seconds until it is told to finish."""

    def __init__(self, record: Record) -> None:
        """`record` gets the values of each measurement and its number."""
        self._record, self._over = record, threading.Event()
        self._thread = threading.Thread(target=self._watch, name="system-metrics", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        number, network = 0, psutil.net_io_counters()
        psutil.cpu_percent()  # the first call has nothing to compare with
        gpus = _gpus()
        while not self._over.wait(INTERVAL_SECONDS):
            memory, disk, now = (
                psutil.virtual_memory(),
                psutil.disk_usage(os.sep),
                psutil.net_io_counters(),
            )
            values = {
                "cpu_utilization_percentage": psutil.cpu_percent(),
                "system_memory_usage_megabytes": memory.used / 1e6,
                "system_memory_usage_percentage": memory.used / memory.total * 100,
                "disk_usage_percentage": disk.percent,
                "disk_usage_megabytes": disk.used / 1e6,
                "disk_available_megabytes": disk.free / 1e6,
                **gpus(),
            }
            if network is not None and now is not None:
                values["network_receive_megabytes"] = (now.bytes_recv - network.bytes_recv) / 1e6
                values["network_transmit_megabytes"] = (now.bytes_sent - network.bytes_sent) / 1e6
            self._record({f"system/{key}": round(v, 1) for key, v in values.items()}, number)
            number += 1


def _gpus() -> Callable[[], dict[str, float]]:
    """A function that measures every NVIDIA GPU; of none where nvidia-ml-py or a GPU is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
    except Exception:  # noqa: BLE001 (no library, no driver, no GPU: a class of its own for each)
        return dict

    def measure() -> dict[str, float]:
        values: dict[str, float] = {}
        for i, handle in enumerate(handles):
            try:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                load = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                power = pynvml.nvmlDeviceGetPowerUsage(handle)
            except pynvml.NVMLError:
                continue
            values |= {
                f"gpu_{i}_memory_usage_percentage": memory.used / memory.total * 100,
                f"gpu_{i}_memory_usage_megabytes": memory.used / 1e6,
                f"gpu_{i}_utilization_percentage": load,
                f"gpu_{i}_power_usage_watts": power / 1000,
            }
        return values

    return measure
