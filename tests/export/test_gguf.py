"""GGUF files, read back by the gguf package. What llama.cpp makes of them: test_llama_cpp.py."""

import shutil

import gguf
import pytest
import tokenizers
import torch

from minigpt.errors import ExportError
from minigpt.export.config import ExportConfig
from minigpt.export.formats.gguf import ENTRY, FP32, Q4, Q8, decode
from minigpt.export.verify import parity, torch_decoder
from minigpt.model.config import GeluMlp
from minigpt.tokenizer.bpe import Tokenizer
from minigpt.tokenizer.config import TokenizerConfig
from minigpt.tokenizer.patterns import PATTERNS

from .conftest import SHAPES, SIZES, TEXT


@pytest.fixture(scope="session")
def folder(package, tmp_path_factory):
    out = tmp_path_factory.mktemp("gguf")
    ENTRY.export(package, out, ExportConfig())
    return out


def fields(file):
    return {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}


def kinds(file):
    return {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_file_alone_holds_the_whole_model(make_package, ids, shape, tmp_path):
    package = make_package(SHAPES[shape])
    ENTRY.export(package, tmp_path, ExportConfig())
    assert fields(tmp_path / FP32)["general.architecture"] == shape.split()[0]
    decoder = decode(tmp_path / FP32, threads=1)
    distance = parity(torch_decoder(package.model), decoder, ids, cached_steps=8)
    # Hyperparameters are in fp32 there; logits are near 1.
    assert max(distance.prompt, distance.cached) < 1e-5


@pytest.mark.parametrize(("file", "most", "share"), [(Q8, 0.02, 0.3), (Q4, 0.3, 0.25)])
def test_rounded_files_are_small_and_near(folder, package, ids, file, most, share):
    # Rounding moves a weight by about 0.5 % (8 bits) or 8 % (4 bits); a few layers add up.
    distance = parity(torch_decoder(package.model), decode(folder / file, 1), ids, cached_steps=8)
    assert 0 < distance.relative < most
    whole, small = (gguf.GGUFReader(folder / name).tensors for name in (FP32, file))
    assert sum(t.n_bytes for t in small) < share * sum(t.n_bytes for t in whole)


def test_rounding_is_nearer_than_the_gguf_packages_own(folder, package):
    kind = gguf.GGMLQuantizationType.Q4_0
    ours = next(t for t in gguf.GGUFReader(folder / Q4).tensors if t.name == "blk.0.ffn_up.weight")
    weight = package.model.get_parameter("blocks.0.mlp.up.weight").detach().numpy()
    plain = gguf.dequantize(gguf.quantize(weight, kind), kind)
    nearer = gguf.dequantize(ours.data, ours.tensor_type)
    assert abs(nearer - weight).mean() < abs(plain - weight).mean()


def test_embedding_and_head_keep_8_bits_beside_4(folder):
    found = kinds(folder / Q4)
    assert found["token_embd.weight"] == found["output.weight"] == "Q8_0"
    assert found["blk.1.ffn_down.weight"] == "Q4_0"
    assert found["blk.1.attn_q_norm.weight"] == "F32"


def test_a_row_that_no_block_divides_keeps_its_floats(make_package, tmp_path):
    ENTRY.export(make_package(SIZES.replace(mlp_dim=120)), tmp_path, ExportConfig())
    found = kinds(tmp_path / Q8)
    assert found["blk.0.ffn_down.weight"] == "F32"
    assert found["blk.0.ffn_up.weight"] == "Q8_0"


def test_tokens_and_merges_give_our_ids(folder, package):
    values = fields(folder / FP32)
    words = values["tokenizer.ggml.tokens"]
    assert len(words) == package.tokenizer.vocab_size
    merges = [tuple(merge.split(" ")) for merge in values["tokenizer.ggml.merges"]]
    bpe = tokenizers.models.BPE({word: i for i, word in enumerate(words)}, merges)
    theirs = tokenizers.Tokenizer(bpe)
    cut = tokenizers.Regex(PATTERNS[values["tokenizer.ggml.pre"]])
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(cut, "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    text = TEXT + "\t naïve 日本 \U0001f600 1234\r\n  end"
    assert theirs.encode(text).ids == package.tokenizer.encode(text)


@pytest.mark.parametrize("spoil", ["merges", "add_bos_token"])
def test_a_file_whose_tokenizer_is_another_than_the_folders_is_refused(folder, tmp_path, spoil):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    field = gguf.GGUFReader(tmp_path / FP32, "r+").fields[f"tokenizer.ggml.{spoil}"]
    last = field.parts[field.data[-1]]  # a letter's code, or a truth
    last[-1] ^= 1
    with pytest.raises(
        ExportError, match=rf"model-F32\.gguf and tokenizer\.json differ in {spoil}"
    ):
        decode(tmp_path / FP32, threads=1)


def test_a_text_begins_with_end_of_text(folder, package):
    values, eot = fields(folder / FP32), package.tokenizer.eot_id
    assert values["tokenizer.ggml.add_bos_token"] is True
    assert values["tokenizer.ggml.bos_token_id"] == values["tokenizer.ggml.eos_token_id"] == eot
    assert values["tokenizer.ggml.eot_token_id"] == eot  # <|end|> is another token
    assert values["tokenizer.ggml.padding_token_id"] == package.tokenizer.specials["<|pad|>"]
    control = gguf.TokenType.CONTROL
    types = values["tokenizer.ggml.token_type"]
    assert [i for i, kind in enumerate(types) if kind == control] == sorted(
        package.tokenizer.specials.values()
    )


def test_a_pattern_that_llama_cpp_has_no_name_for_is_refused(make_package, tmp_path):
    config = TokenizerConfig(vocab_size=300, pattern="code")
    Tokenizer.train([TEXT * 3], config).save(tmp_path / "tokenizer")
    package = make_package(SIZES, tmp_path / "tokenizer")
    with pytest.raises(ExportError, match=r"gguf: .*tokenizer.pattern: code.* Leave gguf out of"):
        ENTRY.export(package, tmp_path / "out", ExportConfig())


def test_what_no_architecture_has_a_word_for_is_refused(make_package, tmp_path):
    with pytest.raises(
        ExportError, match=r"gguf: qwen3 has no mlp: gelu; llama has no .*; gpt2 has"
    ):
        ENTRY.export(make_package(SIZES.replace(mlp=GeluMlp())), tmp_path, ExportConfig())
    assert not list(tmp_path.iterdir())


def test_a_file_describes_itself(folder):
    values = fields(folder / Q4)
    assert values["general.file_type"] == gguf.LlamaFileType.MOSTLY_Q4_0
    assert values["qwen3.context_length"] == SIZES.context_length
    assert values["qwen3.rope.freq_base"] == torch.tensor(SIZES.position.theta).item()
