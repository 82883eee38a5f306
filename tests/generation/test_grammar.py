"""Text of a form: what comes out has it, and what cannot be followed is refused in one sentence."""

import contextlib
import json
import re

import jsonschema
import numpy as np
import pytest

from minigpt.errors import ParamsError
from minigpt.generation.grammar import LONGEST_REASON, Form
from minigpt.generation.request import Constraint
from minigpt.generation.scheduler import Scheduler

from .answers import GREEDY, WARM, answers, request

SCHEMAS = {
    "fields": {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 6},
            "age": {"type": "integer", "minimum": 0, "maximum": 150},
            "dead": {"type": "boolean"},
        },
        "required": ["name", "age", "dead"],
        "additionalProperties": False,
    },
    "choice": {"enum": ["Hamlet", "ROMEO", 3, None]},
    "list": {"type": "array", "items": {"enum": [1, 22, 333]}, "minItems": 2, "maxItems": 4},
    "alternatives": {"anyOf": [{"const": "yes"}, {"type": "integer", "minimum": 5, "maximum": 99}]},
    "nested": {
        "$defs": {
            "play": {
                "type": "object",
                "properties": {"act": {"enum": ["I", "II"]}, "in": {"$ref": "#/$defs/list"}},
                "required": ["act", "in"],
                "additionalProperties": False,
            },
            "list": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
        },
        "$ref": "#/$defs/play",
    },
}


def of(kind, text):
    return Constraint(kind=kind, text=text)


def schema(value):
    return of("json", json.dumps(value))


@pytest.mark.parametrize("name", SCHEMAS)
@pytest.mark.parametrize("sampling", [WARM, GREEDY, {"temperature": 5.0, "top_k": 3}])
def test_what_is_written_is_json_of_the_schema(engine, tokenizer, name, sampling):
    constraint = schema(SCHEMAS[name])
    ones = [
        request(tokenizer, "The", sampling, seed=i, max_tokens=120, constraint=constraint)
        for i in range(8)
    ]
    for answer in answers(engine, tokenizer, ones):
        jsonschema.validate(json.loads(answer.text), SCHEMAS[name])
        assert answer.finish == ["stop"]


def test_a_form_changes_no_other_text_in_the_batch(make_engine, tokenizer):
    plain = [request(tokenizer, "The quick", WARM, seed=i) for i in range(3)]
    formed = [one.replace(constraint=schema(SCHEMAS["list"])) for one in plain]
    mixed = answers(make_engine("onnx", 6), tokenizer, [*plain, *formed])
    alone = [answers(make_engine("onnx"), tokenizer, [one])[0].text for one in (*plain, *formed)]
    assert [answer.text for answer in mixed] == alone


@pytest.mark.parametrize(
    "expression",
    [
        "[A-Z]{2}-[0-9]{3}",
        "(yes|no)",
        "a*b",
        "ż[éè]?€",
        "[0-9]{4}(-[0-9]{2}){2}",
        "The (cat|dog)\n",
    ],
)
def test_what_is_written_matches_the_expression(engine, tokenizer, expression):
    ones = [
        request(tokenizer, seed=i, max_tokens=60, constraint=of("regex", expression))
        for i in range(4)
    ]
    for answer in answers(engine, tokenizer, ones):
        # a* may go on to the last token asked for.
        whole = re.fullmatch(expression, answer.text)
        assert whole or (answer.finish == ["length"] and set(answer.text) == {"a"})


def test_what_is_written_follows_the_grammar(engine, tokenizer):
    grammar = """
        start: sum
        sum: NUMBER (" + " NUMBER){1,3}
        NUMBER: /[1-9][0-9]?/
    """
    ones = [
        request(tokenizer, seed=i, max_tokens=60, constraint=of("lark", grammar)) for i in range(4)
    ]
    for answer in answers(engine, tokenizer, ones):
        assert re.fullmatch(r"[1-9]\d?( \+ [1-9]\d?){1,3}", answer.text)
        assert answer.finish == ["stop"]


def test_too_few_tokens_cut_the_form_and_that_is_said(engine, tokenizer):
    one = request(tokenizer, max_tokens=3, constraint=schema(SCHEMAS["fields"]))
    [answer] = answers(engine, tokenizer, [one])
    assert answer.finish == ["length"]
    assert '{"name":'.startswith(answer.text[:8])


def test_where_the_end_is_banned_a_complete_form_ends_all_the_same(engine, tokenizer):
    one = request(tokenizer, max_tokens=50, ignore_end=True, constraint=of("regex", "(yes|no)"))
    [answer] = answers(engine, tokenizer, [one])
    assert (answer.text in ("yes", "no"), answer.finish) == (True, ["stop"])


def test_a_bias_against_the_form_ends_the_text(engine, tokenizer):
    bias = dict.fromkeys(range(256), -100.0)
    one = request(
        tokenizer, sampling={"logit_bias": bias}, constraint=of("regex", "[0-9]{3}"), max_tokens=9
    )
    assert answers(engine, tokenizer, [one])[0].finish == ["stop"]


def test_special_tokens_are_no_part_of_any_form(tokenizer):
    form = Form(of("regex", "(?s:.*)"), tokenizer)
    forbidden = form.forbidden()
    assert forbidden.shape == (tokenizer.vocab_size,)
    specials = [token for token in tokenizer.specials.values() if token != tokenizer.eot_id]
    assert forbidden[specials].all()
    assert not forbidden[tokenizer.eot_id]  # it may end here
    assert not forbidden[tokenizer.encode("any text")].any()


def test_a_form_starts_anew_for_each_text(engine, tokenizer):
    one = request(tokenizer, n=4, constraint=of("regex", "[ab]{3}[cd]"), max_tokens=30)
    [answer] = answers(engine, tokenizer, [one])
    assert all(re.fullmatch("[ab]{3}[cd]", text) for text in answer.texts())


BAD = {
    "no JSON": of("json", "{"),
    "no schema": of("json", "3"),
    "unknown type": of("json", '{"type": "strnig"}'),
    "nothing fits": of("json", '{"type": "integer", "minimum": 5, "maximum": 3}'),
    "no such definition": of("json", '{"$ref": "#/$defs/nowhere"}'),
    "another file": of("json", '{"$ref": "https://example.com/schema.json"}'),
    "open bracket": of("regex", "(a"),
    "look-ahead": of("regex", "(?=a)a"),
    "back reference": of("regex", r"(a)\1"),
    "no start": of("lark", "sum: /a/"),
    "unknown rule": of("lark", "start: nowhere"),
    "no grammar": of("lark", "%%%"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_followed_is_refused_in_one_sentence(engine, tokenizer, name):
    scheduler = Scheduler(engine, tokenizer)
    with pytest.raises(ParamsError, match=f"{BAD[name].kind}: cannot be followed: ") as caught:
        scheduler.submit(request(tokenizer, constraint=BAD[name]), print)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < LONGEST_REASON + 40
    assert not scheduler.busy


BOMBS = {
    "repetitions": of("regex", "((a{1,1000}){1,1000}){1,1000}"),
    "many choices": of("regex", "(a|aa|aaa)*" * 50 + "b"),
    "long prefix": of("regex", "(.*a){20}" + "." * 200),
    "deep": of("json", '{"items":' * 2000 + "{}" + "}" * 2000),
    "wide": schema({"anyOf": [{"type": "string", "pattern": f"(a|b)*{i}c"} for i in range(800)]}),
    "ambiguous": of("lark", "start: a\na: a a | /x/ | \n"),
    "many items": schema({"type": "array", "minItems": 10**9, "items": {"type": "integer"}}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_was_made_to_waste_time_is_refused_or_followed(engine, tokenizer, name):
    """llguidance bounds states, steps and memory; the pytest timeout is the guard here."""
    one = request(tokenizer, seed=1, max_tokens=20, constraint=BOMBS[name])
    with contextlib.suppress(ParamsError):
        [answer] = answers(engine, tokenizer, [one])
        assert len(answer.finish) == 1


def test_the_mask_is_that_of_the_vocabulary_s_bytes(tokenizer):
    """Against every token's bytes: after "ab" only what keeps to ab[0-9]+c may follow."""
    form = Form(of("regex", "ab[0-9]+c"), tokenizer)
    for token in tokenizer.encode("ab"):
        form.accept(token)
    names = [tokenizer.token_bytes(i) for i in range(tokenizer.vocab_size)]
    specials = set(tokenizer.specials.values())
    fits = [
        i not in specials and re.fullmatch(rb"[0-9]+c?", name) is not None
        for i, name in enumerate(names)
    ]
    np.testing.assert_array_equal(~form.forbidden(), fits)
    for token in tokenizer.encode("7c"):
        assert not form.complete
        form.accept(token)
    assert form.complete
