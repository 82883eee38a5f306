"""Training speed beside what people would use instead, in one run on one machine.

    python benchmarks/train_step.py [ROUNDS]

The default model (Qwen3 dialect, 2.4M parameters, 2,048 tokens a step): ours with Muon, as the
stage trains it, against transformers' Qwen3ForCausalLM of the same sizes with fused AdamW under
bf16 autocast, both on all physical cores. Rounds alternate; medians of a step are printed.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from minigpt.machine import Machine
from minigpt.model.build import build_model
from minigpt.model.config import ModelConfig
from minigpt.training.config import PretrainConfig
from minigpt.training.lanes import Lanes, lane_count
from minigpt.training.loop import gradients
from minigpt.training.optim import build_optimizer
from minigpt.training.precision import make_precision

VOCAB, TOKENS, LENGTHS, STEPS = 2048, 2048, (128, 256, 512), 10
MODEL, CONFIG = ModelConfig(), PretrainConfig()
Step = Callable[[torch.Tensor, Lanes], None]


def ours(machine: Machine, count: int) -> Step:
    model = build_model(MODEL, VOCAB, seed=0)
    optimizer = build_optimizer(model, CONFIG.optimizer, chunks=count)
    precision = make_precision("bf16", model)

    def step(ids: torch.Tensor, lanes: Lanes) -> None:
        _, grads = gradients(precision, ids, ids, ids.numel(), lanes, machine.micro_batch)
        with torch.no_grad():
            lanes.run(optimizer.tasks(grads, CONFIG.lr, 0))
        precision.refresh()

    return step


def transformers_qwen3() -> Step:
    sizes = Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=MODEL.n_embd,
        intermediate_size=MODEL.mlp_dim,
        num_hidden_layers=MODEL.n_layer,
        num_attention_heads=MODEL.n_head,
        num_key_value_heads=MODEL.n_kv_head,
        head_dim=MODEL.head_width,
        max_position_embeddings=MODEL.context_length,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(sizes).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(ids: torch.Tensor, _: Lanes) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    machine = Machine.load()
    machine.prepare_torch()
    print(f"load {os.getloadavg()[0]:.1f} · {machine.fingerprint()}")
    print("length   ours tok/s   transformers tok/s   ratio")
    for length in LENGTHS:
        rows = TOKENS // length
        count = lane_count(machine, [rows])
        steps = {"ours": ours(machine, count), "transformers": transformers_qwen3()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(rounds):
            for name, step in steps.items():
                lanes = Lanes(count if name == "ours" else 1, machine.threads)
                with lanes:
                    for i in range(STEPS):
                        ids = torch.randint(VOCAB, (rows, length))
                        start = time.perf_counter()
                        step(ids, lanes)
                        if i > 1:
                            times[name].append(time.perf_counter() - start)
        speed = {name: TOKENS / statistics.median(seconds) for name, seconds in times.items()}
        ratio = speed["ours"] / speed["transformers"]
        print(f"{length:6} {speed['ours']:12,.0f} {speed['transformers']:20,.0f} {ratio:7.2f}")


if __name__ == "__main__":
    main()
