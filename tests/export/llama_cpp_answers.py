"""Asked by test_llama_cpp.py, in a Python of its own that has llama-cpp-python and no minigpt.

JSON on stdin: {file, usual_cache, texts, ids, prompts, new, banned}; JSON on stdout.
"""

import itertools
import json
import sys

from llama_cpp import Llama, LogitsProcessorList, llama_cpp

FP32 = 0  # ggml's number of the type
default_params = llama_cpp.llama_model_default_params


def plain_params():
    """Without weights in an order of their own: on AMX processors 0.3.36 ends there by SIGSEGV."""
    params = default_params()
    params.use_extra_bufts = False
    return params


llama_cpp.llama_model_default_params = plain_params


def main():
    asked = json.load(sys.stdin)

    cache = {} if asked["usual_cache"] else {"type_k": FP32, "type_v": FP32}
    model = Llama(asked["file"], n_ctx=0, n_threads=1, verbose=False, logits_all=True, **cache)
    model.eval(asked["ids"])
    logits = model.scores[: len(asked["ids"])].tolist()

    def written(prompt):
        ids = model.tokenize(prompt.encode())  # it puts in front what the file says
        tokens = model.generate(ids, temp=0, logits_processor=LogitsProcessorList([unreserved]))
        chosen = list(itertools.islice(tokens, asked["new"]))
        return {"ids": chosen, "bytes": model.detokenize(chosen).hex()}

    def unreserved(_, scores):
        scores[asked["banned"]] = float("-inf")
        return scores

    json.dump(
        {
            "tokens": [model.tokenize(text.encode(), add_bos=False) for text in asked["texts"]],
            "opened": model.tokenize(b"x"),
            "logits": logits,
            "written": [written(prompt) for prompt in asked["prompts"]],
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
