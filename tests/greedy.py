"""Greedy ids by an engine or a decoder alone: what other programs' text is compared with."""

import numpy as np
import torch


def greedy_ids(engine, prompt, count, banned=(), slot=0):
    """`count` ids behind `prompt`, each the likeliest that is not banned."""
    engine.cut(slot, 0)
    logits, ids = engine.read(slot, prompt), []
    while len(ids) < count:
        values = logits.copy()
        values[list(banned)] = -np.inf
        ids.append(int(values.argmax()))
        if len(ids) < count:
            logits = engine.step({slot: ids[-1]})[slot]
    return ids


def decoded(decoder, prompt, count):
    """`count` ids behind `prompt` by `Exporter.models[…].decode`, each the likeliest."""
    logits, past = decoder(torch.tensor([prompt]))
    ids = [logits[:, -1:].argmax(-1)]
    while len(ids) < count:
        logits, past = decoder(ids[-1], past)
        ids.append(logits[:, -1:].argmax(-1))
    return torch.cat(ids, 1)[0].tolist()
