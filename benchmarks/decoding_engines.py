"""One engine in a process of its own: what decoding.py measures. It imports what its engine needs.

JSON on stdin: {engine, path, threads, batches, prompts, new, repeats}; JSON on stdout. llama.cpp
is asked in a Python without minigpt, so nothing of it is imported here before an engine is chosen.
"""

import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minigpt.generation.engine import Engine
    from minigpt.tokenizer.bpe import Tokenizer

SLOTS = 16
"""Prompts at once, at most."""
Rows = list[list[int]]
Write = Callable[[Rows, int], Rows]
"""(prompts of one length, count): as many new ids a prompt, always the likeliest, never stopped."""
Load = Callable[[], tuple[Write, str]]
"""The model made ready, and the version of the program: what comes before is import alone."""


def transformers(path: Path, threads: int) -> Load:
    import torch
    from transformers import AutoModelForCausalLM, __version__

    torch.set_num_threads(threads)

    def load() -> tuple[Write, str]:
        model = AutoModelForCausalLM.from_pretrained(path)
        settings = model.generation_config
        settings.eos_token_id = settings.suppress_tokens = None  # no engine does more than others

        def write(prompts: Rows, new: int) -> Rows:
            ids = torch.tensor(prompts)
            mask = torch.ones_like(ids)
            out = model.generate(ids, attention_mask=mask, max_new_tokens=new, do_sample=False)
            return out[:, ids.size(1) :].tolist()

        return write, __version__

    return load


def genai(path: Path, threads: int) -> Load:
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime_genai as og

    def load() -> tuple[Write, str]:
        config = og.Config(str(path.parent))
        options = {"intra_op_num_threads": threads}
        decoder = {"filename": path.name, "session_options": options}
        config.overlay(json.dumps({"model": {"decoder": decoder}}))
        model = og.Model(config)

        def write(prompts: Rows, new: int) -> Rows:
            length = len(prompts[0]) + new
            params = og.GeneratorParams(model)
            params.set_search_options(
                batch_size=len(prompts), max_length=length, min_length=length, do_sample=False
            )
            generator = og.Generator(model, params)
            generator.append_tokens(prompts)
            while not generator.is_done():
                generator.generate_next_token()
            rows = range(len(prompts))
            return [generator.get_sequence(row).tolist()[-new:] for row in rows]

        return write, og.__version__

    return load


def llama_cpp(path: Path, threads: int) -> Load:
    from llama_cpp import __version__
    from llama_cpp import llama_cpp as lib

    lib.llama_backend_init()
    flags = Path("/proc/cpuinfo")
    amx = flags.exists() and "amx_int8" in flags.read_text(encoding="utf-8")

    silent = lib.llama_log_callback(lambda *_: None)

    def load() -> tuple[Write, str]:
        lib.llama_log_set(silent, ctypes.c_void_p(0))
        settings = lib.llama_model_default_params()
        # Rounded weights in an order of their own: on AMX processors 0.3.36 ends there by SIGSEGV.
        settings.use_extra_bufts = not amx
        version = f"{__version__} (weights in the file's order)" if amx else __version__
        model = lib.llama_model_load_from_file(str(path).encode(), settings)
        if not model:
            raise ValueError(f"{path} cannot be loaded")

        def write(prompts: Rows, new: int) -> Rows:
            rows, length = len(prompts), len(prompts[0])
            settings = lib.llama_context_default_params()
            settings.n_ctx = rows * (length + new)
            settings.n_batch = rows * length
            settings.n_seq_max = rows
            settings.n_threads = settings.n_threads_batch = threads
            context = lib.llama_init_from_model(model, settings)
            batch = lib.llama_batch_init(rows * length, 0, 1)
            likeliest = lib.llama_sampler_init_greedy()

            def read(tokens: Rows, start: int) -> list[int]:
                """The next id behind each row of `tokens`."""
                width, place = len(tokens[0]), 0
                for row, ids in enumerate(tokens):
                    for offset, token in enumerate(ids):
                        batch.token[place] = token
                        batch.pos[place] = start + offset
                        batch.n_seq_id[place] = 1
                        batch.seq_id[place][0] = row
                        batch.logits[place] = offset == width - 1
                        place += 1
                batch.n_tokens = place
                if lib.llama_decode(context, batch):
                    raise ValueError(f"{path}: llama_decode fails")
                ends = range(width - 1, place, width)
                return [lib.llama_sampler_sample(likeliest, context, end) for end in ends]

            steps = [read(prompts, 0)]
            for step in range(new - 1):
                steps.append(read([[token] for token in steps[-1]], length + step))
            lib.llama_sampler_free(likeliest)
            lib.llama_batch_free(batch)
            lib.llama_free(context)
            return [list(row) for row in zip(*steps, strict=True)]

        return write, version

    return load


def minigpt(path: Path, threads: int) -> Load:
    """A package by torch."""
    from minigpt import __version__
    from minigpt.generation.torch_engine import TorchEngine
    from minigpt.machine import Machine
    from minigpt.package import load_package

    Machine(device="cpu", threads=threads).prepare_torch()

    def load() -> tuple[Write, str]:
        package = load_package(path)
        return written_by(TorchEngine(package.model, SLOTS), package.tokenizer), __version__

    return load


def minigpt_onnx(path: Path, threads: int) -> Load:
    """A file of our ONNX export by our own engine: no torch is loaded."""
    from minigpt import __version__
    from minigpt.generation.onnx_engine import OnnxEngine
    from minigpt.tokenizer.exported import load_exported

    def load() -> tuple[Write, str]:
        engine = OnnxEngine(path.parent, path.name, slots=SLOTS, threads=threads, spin=True)
        return written_by(engine, load_exported(path.parent)), __version__

    return load


def written_by(engine: "Engine", tokenizer: "Tokenizer") -> Write:
    """All prompts at once through the scheduler, as a server writes them."""
    from minigpt.generation.request import Request, Sampling
    from minigpt.generation.scheduler import Scheduler

    def write(prompts: Rows, new: int) -> Rows:
        scheduler = Scheduler(engine, tokenizer)  # it has read no prompt yet
        greedy = Sampling(temperature=0)
        jobs = [
            scheduler.submit(
                Request(prompt=tuple(ids), max_tokens=new, sampling=greedy, ignore_end=True),
                lambda _: None,
            )
            for ids in prompts
        ]
        while scheduler.turn():
            pass
        return [work.writer.ids for job in jobs for work in job.works]

    return write


def exporter(path: Path, threads: int) -> Load:
    """Any format as its entry decodes it; `path` is exports/NAME OF THE MODEL."""
    import torch

    from minigpt import __version__
    from minigpt.export.exporters import EXPORTERS
    from minigpt.machine import Machine

    Machine(device="cpu", threads=threads).prepare_torch()
    entry, model = next(
        (entry, model)
        for entry in EXPORTERS.values()
        for model in entry.models
        if model.name == path.name
    )

    def load() -> tuple[Write, str]:
        decode = model.decode(path.with_name(entry.name) / model.file, threads)

        @torch.inference_mode()
        def write(prompts: Rows, new: int) -> Rows:
            logits, past = decode(torch.tensor(prompts))
            steps = [logits[:, -1].argmax(-1, keepdim=True)]
            while len(steps) < new:
                logits, past = decode(steps[-1], past)
                steps.append(logits[:, -1].argmax(-1, keepdim=True))
            return torch.cat(steps, 1).tolist()

        return write, __version__

    return load


ENGINES: dict[str, Callable[[Path, int], Load]] = {
    engine.__name__: engine
    for engine in (transformers, genai, llama_cpp, minigpt, minigpt_onnx, exporter)
}


def peak_mb() -> float:
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def seconds(write: Write, prompts: Rows, new: int, repeats: int) -> list[float]:
    """Wall time of each repeat, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        rows = write(prompts, new)
        times.append(time.perf_counter() - start)
        if [len(row) for row in rows] != [new] * len(prompts):
            raise ValueError(f"wrote {[len(row) for row in rows]} ids instead of {new} each")
    return times[1:]


def main() -> None:
    asked = json.load(sys.stdin)
    answer, sys.stdout = sys.stdout, sys.stderr  # libraries say things as well
    prompts, new, repeats = asked["prompts"], asked["new"], asked["repeats"]
    load = ENGINES[asked["engine"]](Path(asked["path"]), asked["threads"])
    libraries = peak_mb()
    write, version = load()
    times = {n: seconds(write, prompts[:n], new, repeats) for n in asked["batches"]}
    measured = {
        "version": version,
        "seconds": times,
        "first_token_seconds": seconds(write, prompts[:1], 1, repeats),
        "libraries_mb": libraries,
        "peak_mb": peak_mb(),
        "ids": write(prompts[:1], new)[0],
    }
    json.dump(measured, answer)
    answer.flush()
    os._exit(0)  # some libraries end by a signal when Python takes them down


if __name__ == "__main__":
    main()
