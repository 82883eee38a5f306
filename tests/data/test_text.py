import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.data.readers import reader_of
from minigpt.data.text import clean_shakespeare, cut_tail, decode, tidy
from minigpt.errors import DataError


def test_bytes_that_are_not_utf8_are_counted_and_placed():
    text, facts = decode("naïve café".encode() + " naïve café".encode("latin-1"))
    assert text == "naïve café na\ufffdve caf\ufffd"
    assert facts == {"undecodable": 2, "undecodable_at": 15, "looks_like": "latin-1"}


def test_a_replacement_character_in_good_utf8_is_no_decoding_failure():
    assert decode("a\ufffdb".encode()) == ("a\ufffdb", {})


def test_a_byte_order_mark_is_no_text():
    assert decode(b"\xef\xbb\xbfabc") == ("abc", {})
    assert decode("abc".encode("utf-16"))[1]["looks_like"] == "utf-16"


@given(st.text())
def test_tidying_twice_changes_nothing_more(text):
    assert tidy(tidy(text)) == tidy(text)


def test_tidy_keeps_the_first_line_s_indentation():
    assert tidy("\r\n  \r\n   A poem\r\nruns on  \n\n") == "   A poem\nruns on\n"
    assert tidy(" \n\t\n") == ""


def test_cleaning_drops_title_by_line_and_the_end():
    text = "MACBETH\n\nby William Shakespeare\n\n\nACT I.\n\nTHE END of it.\n\nTHE END\n"
    assert tidy(clean_shakespeare(text)) == "ACT I.\n\nTHE END of it.\n"


TEXT_OF_SCRIPTS = {"latin": "Une lettre d'été.\n", "han": "今天天气很好。\n", "thai": "สวัสดี ครับ\n"}


@pytest.mark.parametrize("script", TEXT_OF_SCRIPTS)
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_text_in_two_or_four_bytes_without_a_mark_is_recognised(script, encoding):
    text, facts = decode((TEXT_OF_SCRIPTS[script] * 50).encode(encoding))
    assert "\0" not in text
    assert facts["undecodable"] == text.count("\ufffd") > 0
    assert facts["looks_like"] == encoding[:6]


def test_a_nul_is_no_text_and_its_place_is_named():
    text, facts = decode(b"A text with a hole\0 in it.\n")
    assert text == "A text with a hole\ufffd in it.\n"
    assert facts == {"undecodable": 1, "undecodable_at": 18, "looks_like": "a binary file"}


def test_what_cannot_be_decoded_is_placed_from_the_first_byte_of_the_file():
    assert decode(b"\xef\xbb\xbfcaf\xe9")[1]["undecodable_at"] == 6


def test_records_of_a_jsonl_file_are_pieces_with_their_line():
    data = b'{"text": "one"}\n\n{"text": "two", "work": "w"}\n'
    assert [(p.name, p.text, p.work) for p in reader_of("a.jsonl").read("a.jsonl", data)] == [
        ("a.jsonl#1", "one", None),
        ("a.jsonl#3", "two", "w"),
    ]


def test_an_undecodable_record_is_placed_in_its_file():
    data = b'{"text": "one"}\n{"text": "caf\xe9"}\n'
    *_, last = reader_of("a.jsonl").read("a.jsonl", data)
    assert last.facts["undecodable_at"] == data.index(b"\xe9")


def test_a_nul_that_json_spells_is_no_text_either():
    (piece,) = reader_of("a.jsonl").read("a.jsonl", rb'{"text": "a\u0000b"}')
    assert piece.text == "a\ufffdb"


def test_half_a_character_in_json_becomes_a_replacement_character():
    (piece,) = reader_of("a.jsonl").read("a.jsonl", rb'{"text": "a\ud800b"}')
    assert piece.text == "a\ufffdb"


@pytest.mark.parametrize(
    ("line", "message"),
    [(b"{", "line 2, column 2 is not JSON"),
     (b'{"body": 1}', 'line 2 needs a string under the key "text"'),
     (b"[]", "line 2 needs"), (b'{"text": 3}', "line 2 needs"),
     (b'{"text": "", "n": ' + b"1" * 5000 + b"}", "line 2 cannot be read: Exceeds the limit"),
     (b'{"text": "a", "text": "b"}', 'line 2 cannot be read: the key "text" stands twice'),
     (b'{"text": "a", "m": {"k": 1, "k": 1}}', 'line 2 .* the key "k" stands twice'),
     ('{"text": "a"}'.encode("utf-16"), r"line 2, column 1 is not JSON: .*; is it utf-16\?")],
)  # fmt: skip
def test_a_bad_record_is_named_by_file_and_line(line, message):
    with pytest.raises(DataError, match=f"a.jsonl: {message}"):
        list(reader_of("a.jsonl").read("a.jsonl", b'{"text": "fine"}\n' + line))


def test_a_tail_is_cut_at_blank_lines_and_nothing_is_lost():
    text = "".join(
        f"Paragraph {n} with a few words in it.\nAnd a second line.\n\n" for n in range(40)
    )
    train, val, test = cut_tail(text)
    assert "\n\n".join(part.rstrip() for part in (train, val, test)) == text.rstrip()
    assert all(part.startswith("Paragraph") for part in (val, test))
    assert 0.05 < len(val) / len(text) < 0.15
    assert 0.05 < len(test) / len(text) < 0.15


def test_a_text_too_short_to_cut_stays_whole():
    assert cut_tail("word\n") is None


@given(st.text(alphabet="ab \n", max_size=400))
def test_the_parts_of_a_cut_hold_the_same_words_in_the_same_order(text):
    parts = cut_tail(tidy(text))
    if parts is not None:
        assert "".join("".join(parts).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "end"),
    [("A sentence of some words. " * 30_000, ". "), ("今天天气很好。" * 30_000, "。"),
     ("words " * 100_000, "s "), ("x" * 900_000, "x")],
)  # fmt: skip
def test_a_line_without_end_is_cut_behind_a_sentence_else_a_blank(text, end):
    train, val, test = cut_tail(text)
    assert abs(len(train) - 0.8 * len(text)) < 0.05 * len(text)
    assert train.endswith(f"{end.rstrip()}\n")
    assert "".join((train, val, test)).replace("\n", "").replace(" ", "") == text.replace(" ", "")
