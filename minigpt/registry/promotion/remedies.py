"""Why a condition of the gate fails most often, and what to change: in params.yaml, if anything."""

from collections.abc import Mapping

NO_TEST_WORKS = "hold works out: sources.NAME.splits"
BASE = (
    "too few steps or too little text: raise pretrain.duration, add text of role pretrain "
    "(sources), or ask for less: gate.must_beat"
)
FINE_TUNED = (
    "it learned nothing that the held-out text shows: add text (sources), or, where it was trained "
    "too long or too fast for so little, lower finetune.duration or finetune.lr, with "
    "finetune.keep: best"
)
NO_COPY = (
    "no fault of the recipe: the exporter or its runtime errs; leave the format out until it is "
    "mended (export.formats), or allow more: gate.max_logit_difference"
)
FEW_PASSAGES = (
    "too little held-out text to tell versions apart: add text or hold out more of it "
    "(sources.NAME.splits), cut shorter passages (evaluate.passage_bytes), or ask for fewer: "
    "gate.min_passages"
)
WORSE = (
    "it learned this text less well than the champion did: undo what was changed since, or allow a "
    "loss: gate.max_worse"
)
FORGOTTEN = (
    "fine-tuning drove out what the base knew: raise finetune.replay, lower finetune.lr, or allow "
    "more: gate.max_forgetting"
)
LEARNED = (
    "a work is in training here that the champion held out: hold it out too (sources.NAME.splits), "
    "or drop it by its sha256: validate.exclude"
)
NO_INDEX = "put the store's files back from a copy"
TOO_LARGE = "make model.n_layer, model.n_embd or tokenizer.vocab_size smaller, or raise the budget"
TOO_SLOW = (
    "is the machine busy? Else make model.n_layer or model.n_embd smaller, or raise the budget"
)
ROUNDED: Mapping[str, str] = {
    "int8": "measured on little text, it may be chance: raise quantize.max_bytes; or allow more: "
    "gate.max_quantization_loss",
    "int4": "let fewer weights share a scale (lower quantize.int4_group_size), keep more layers in "
    "8 bits (quantize.int8_in_int4), train with the rounding in place (quantize.finetune: {}), or "
    "allow more: gate.max_quantization_loss",
}
"""By package of the stage quantize."""
ROUNDED_EXPORT = (
    "its runtime rounds this way: leave the format out (export.formats), measure on more text "
    "(export.max_bytes), or allow more: gate.max_quantization_loss"
)
