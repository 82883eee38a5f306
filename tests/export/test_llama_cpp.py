"""llama.cpp itself, built from source: our GGUF files as it runs them (3 minutes on 2 cores)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minigpt.export.config import ExportConfig
from minigpt.export.formats.gguf import ENTRY, FP32, PRE_TOKENIZERS, Q4, Q8
from minigpt.export.formats.gguf import decode as decode_ourselves
from minigpt.generation.torch_engine import TorchEngine
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from tests.greedy import greedy_ids

from .conftest import SHAPES, SIZES, TEXT

pytestmark = pytest.mark.prove
ASKED = Path(__file__).with_name("llama_cpp_answers.py")
TEXTS = [
    *(Path(__file__).parents[2] / "data/tiny/plays/hamlet.txt").read_text().split("\n\n"),
    "\t naïve 日本 \U0001f600 1234\r\n\r\n  end \n",
    "It's we'LL 12345 a_b  c... “quoted” —\n\n\n  x",
]
PROMPTS = ["The quick", "over the lazy dog, and", "x", "  the dog’s dream\n"]
NEW = 24


@pytest.fixture(scope="session")
def llama_cpp(tmp_path_factory):
    """A Python with llama-cpp-python; there are no wheels of it."""
    venv = tmp_path_factory.mktemp("llama") / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    python = venv / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, "-m", "pip", "install", "-q", "llama-cpp-python"], check=True)
    return python


def ask(python, file, package, ids, texts=(), *, usual_cache=False):
    """What llama.cpp says; its usual cache is in 16 bits."""
    asked = {
        "usual_cache": usual_cache,
        "file": str(file),
        "ids": ids,
        "texts": list(texts),
        "prompts": PROMPTS,
        "new": NEW,
        "banned": reserved(package),
    }
    done = subprocess.run(
        [python, ASKED], input=json.dumps(asked), capture_output=True, text=True, cwd=file.parent
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def reserved(package):
    tokenizer = package.tokenizer
    return [token for token in tokenizer.specials.values() if token != tokenizer.eot_id]


def greedy(package, prompt):
    """Ids that `minigpt generate` writes at temperature 0."""
    ids = [package.tokenizer.eot_id, *package.tokenizer.encode(prompt)]
    return greedy_ids(TorchEngine(package.model), ids, NEW, reserved(package))


def behind(package, prompt, tokens):
    """How far our logits of the tokens chosen lie below the best, at most."""
    ids = [package.tokenizer.eot_id, *package.tokenizer.encode(prompt)]
    logits = package.model(torch.tensor([ids + tokens]))[0, len(ids) - 1 : -1]
    logits[:, reserved(package)] = -torch.inf
    return (logits.amax(-1) - logits[range(len(tokens)), tokens]).max()


@pytest.mark.parametrize("usual_cache", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_llama_cpp_gives_our_logits_and_writes_our_text(
    llama_cpp, make_package, shape, usual_cache, tmp_path
):
    package = make_package(SHAPES[shape])
    ENTRY.export(package, tmp_path, ExportConfig())
    ids = package.tokenizer.encode(TEXT * 2)[:40]
    answer = ask(llama_cpp, tmp_path / FP32, package, ids, usual_cache=usual_cache)
    # fp32 sums in another order; its GELU is a table of 16-bit numbers.
    exact = not (usual_cache or shape.startswith("gpt2"))
    most = 1e-4 if exact else 2e-2
    expected = package.model(torch.tensor([ids]))[0]
    torch.testing.assert_close(torch.tensor(answer["logits"]), expected, atol=most, rtol=0)
    for prompt, written in zip(PROMPTS, answer["written"], strict=True):
        tokens = written["ids"]
        text = b"".join(package.tokenizer.token_bytes(token) for token in tokens)
        assert bytes.fromhex(written["bytes"]) == text
        if exact:
            assert tokens == greedy(package, prompt)
        # Of two tokens that are as likely as each other it may take either.
        assert behind(package, prompt, tokens) < 2 * most


@pytest.mark.parametrize("file", [Q8, Q4])
def test_llama_cpp_reads_rounded_files_as_we_do(llama_cpp, package, file, tmp_path):
    ENTRY.export(package, tmp_path, ExportConfig())
    ids = package.tokenizer.encode(TEXT * 2)[:40]
    logits = torch.tensor(ask(llama_cpp, tmp_path / file, package, ids)["logits"])
    expected = decode_ourselves(tmp_path / file, 1)(torch.tensor([ids]))[0][0]
    # It rounds activations to 8 bits too, 32 at a time.
    assert (logits - expected).norm() / expected.norm() < 0.02


@pytest.mark.parametrize("pattern", PRE_TOKENIZERS)
def test_llama_cpp_cuts_texts_as_we_do(llama_cpp, make_package, pattern, tmp_path):
    config = TokenizerConfig(vocab_size=300, pattern=pattern)
    Tokenizer.train(TEXTS, config).save(tmp_path / "tokenizer")
    package = make_package(SIZES, tmp_path / "tokenizer")
    ENTRY.export(package, tmp_path, ExportConfig())
    answer = ask(llama_cpp, tmp_path / FP32, package, [0], TEXTS)
    assert answer["tokens"] == [package.tokenizer.encode(text) for text in TEXTS]
    assert answer["opened"] == [package.tokenizer.eot_id, *package.tokenizer.encode("x")]


def test_the_example_writes_our_greedy_text(llama_cpp, make_package, tmp_path):
    package = make_package(SIZES.replace(n_layer=1))
    tokenizer = package.tokenizer
    strange = [  # it holds no reserved token back, and leaves out what is no UTF-8
        token
        for token in range(tokenizer.vocab_size)
        if token in tokenizer.specials.values() or not tokenizer.token_bytes(token).isalpha()
    ]
    with torch.no_grad():
        package.model.head.weight[strange] = 0
    ENTRY.export(package, tmp_path, ExportConfig())
    command = [llama_cpp, tmp_path / "example.py", PROMPTS[0]]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path.parent)
    assert done.returncode == 0, done.stderr
    assert package.config.context_length // 2 == NEW
    assert done.stdout == PROMPTS[0] + tokenizer.decode(greedy(package, PROMPTS[0])) + "\n"
