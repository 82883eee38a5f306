"""Many texts over one engine: a fair turn for each, an end for each, and slots for the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minigpt.errors import BusyError, MiniGPTError, ParamsError
from minigpt.generation.scheduler import Scheduler, size_of_piece
from minigpt.generation.slots import LEAST
from minigpt.generation.writer import Writer

from .answers import PROMPTS, Answer, answers, finished, ids_written, mixed, request


def test_no_tokens_asked_for_are_none_written(engine, tokenizer):
    found = answers(engine, tokenizer, [request(tokenizer, max_tokens=0, n=2), request(tokenizer)])
    assert found[0].texts() == ["", ""]
    assert found[0].finish == ["length", "length"]
    assert [usage.written for usage in found[0].usage] == [0, 0]
    assert found[1].usage[0].written == 20


def test_a_long_prompt_is_read_in_pieces_between_steps_of_others(make_engine, tokenizer):
    engine = make_engine("onnx", 4)
    scheduler, writes, reads = Scheduler(engine, tokenizer, piece=8), Answer(), Answer()
    scheduler.submit(request(tokenizer, "x", max_tokens=50), writes.pieces.append)
    scheduler.turn()
    scheduler.submit(request(tokenizer, prompt=(7,) * 60, max_tokens=1), reads.pieces.append)
    turns = 0
    while not reads.pieces:
        before = scheduler.stats.read, scheduler.stats.steps
        scheduler.turn()
        turns += 1
        assert scheduler.stats.read - before[0] <= 8
        assert scheduler.stats.steps == before[1] + 1  # whoever writes is not kept waiting
    assert turns == 8


def test_prompts_that_wait_are_read_in_the_order_of_arrival(make_engine, tokenizer):
    scheduler, order = Scheduler(make_engine("onnx", 2), tokenizer), []
    for i in range(7):
        one = request(tokenizer, PROMPTS[i % 5], max_tokens=3, seed=i)
        scheduler.submit(one, lambda piece, i=i: order.append(i) if piece.finish else None)
    assert (scheduler.waiting, scheduler.working) == (7, 0)
    while scheduler.turn():
        assert scheduler.working <= 2
    assert order == sorted(order)


@given(unread=st.integers(1, 300), most=st.integers(LEAST + 1, 64))
def test_no_piece_of_a_prompt_is_a_single_token(unread, most):
    pieces = []
    while unread:
        pieces.append(size_of_piece(unread, most))
        unread -= pieces[-1]
    assert max(pieces) <= most
    assert min(pieces) >= LEAST or pieces == [1]


def test_a_full_queue_refuses_and_takes_again_when_there_is_room(make_engine, tokenizer):
    scheduler = Scheduler(make_engine("onnx", 2), tokenizer, queue=3)
    found = [Answer() for _ in range(5)]
    for i, answer in enumerate(found):
        scheduler.submit(request(tokenizer, seed=i), answer.pieces.append)
    for count in (1, 2):
        with pytest.raises(BusyError, match="5 texts wait already"):
            scheduler.submit(request(tokenizer, n=count), print)
    while scheduler.turn():
        pass
    assert all(answer.finish for answer in found)
    assert finished(scheduler, [request(tokenizer, n=5)])[0].finish


def test_a_request_of_more_texts_than_slots_is_written_all_the_same(make_engine, tokenizer):
    [answer] = answers(make_engine("onnx", 2), tokenizer, [request(tokenizer, n=7)])
    assert len(set(answer.texts())) == 7
    singles = [request(tokenizer, n=k) for k in (1, 3)]
    for one, found in zip(singles, answers(make_engine("onnx"), tokenizer, singles), strict=True):
        assert found.texts() == answer.texts()[: one.n]


def test_of_the_best_those_with_the_likeliest_tokens_are_given(make_engine, tokenizer):
    engine = make_engine("onnx", 4)
    every = request(tokenizer, n=6, seed=5, logprobs=0)
    best = request(tokenizer, n=2, best_of=6, seed=5, logprobs=0)
    found, chosen = answers(engine, tokenizer, [every, best])

    def scores(answer):
        totals = {}
        for piece in answer.pieces:
            for token in piece.tokens:
                totals.setdefault(piece.choice, []).append(token.logprob)
        return {c: sum(values) / len(values) for c, values in totals.items()}

    of_all = scores(found)
    ranked = sorted(of_all, key=lambda choice: -of_all[choice])[:2]
    assert chosen.texts() == [found.texts()[choice] for choice in ranked]
    assert len(chosen.finish) == 2
    assert [piece.choice for piece in chosen.pieces if piece.finish] == [0, 1]


def test_a_cancelled_text_ends_at_once_and_its_slot_is_free(make_engine, tokenizer):
    scheduler = Scheduler(make_engine("onnx", 2), tokenizer)
    found = [Answer() for _ in range(4)]
    ones = [request(tokenizer, seed=i, max_tokens=40, ignore_end=True) for i in range(4)]
    jobs = [
        scheduler.submit(one, answer.pieces.append) for one, answer in zip(ones, found, strict=True)
    ]
    for _ in range(5):
        scheduler.turn()
    scheduler.cancel(jobs[0])
    scheduler.cancel(jobs[3])  # it waits still
    assert found[0].finish == found[3].finish == ["cancelled"]
    assert found[0].text != "" == found[3].text
    assert (scheduler.working, scheduler.waiting) == (1, 1)
    pieces = len(found[0].pieces)
    while scheduler.turn():
        pass
    assert len(found[0].pieces) == pieces
    assert found[1].finish == found[2].finish == ["length"]
    [expected] = answers(make_engine("onnx"), tokenizer, [ones[2]])
    assert found[2].text == expected.text  # in a slot that was left in the middle
    scheduler.cancel(jobs[1])
    assert found[1].finish == ["length"]  # once and for all


def test_a_deadline_ends_a_text_that_waits_or_writes(make_engine, tokenizer):
    now = [100.0]
    scheduler = Scheduler(make_engine("onnx", 1), tokenizer, clock=lambda: now[0])
    found = [Answer() for _ in range(3)]
    for answer, seconds in zip(found, (5.0, 5.0, None), strict=True):
        one = request(tokenizer, timeout=seconds, max_tokens=30, ignore_end=True)
        scheduler.submit(one, answer.pieces.append)
    for _ in range(4):
        scheduler.turn()
    now[0] = 105.0
    scheduler.turn()
    assert not found[0].finish
    now[0] = 105.1
    scheduler.turn()
    assert found[0].finish == found[1].finish == ["timeout"]
    assert found[0].usage[0].written > 0
    while scheduler.turn():
        pass
    assert found[2].finish == ["length"]


def test_an_error_is_told_to_whom_it_concerns(engine, tokenizer):
    scheduler, answer = Scheduler(engine, tokenizer), Answer()
    job = scheduler.submit(request(tokenizer, n=2), answer.pieces.append)
    scheduler.turn()
    scheduler.cancel(job, "error", "the model is gone")
    assert [piece.error for piece in answer.pieces if piece.finish] == ["the model is gone"] * 2
    assert job.done
    assert not scheduler.busy


def test_text_ends_before_a_stop_string_at_a_stop_token_and_at_the_end(engine, tokenizer):
    one = request(tokenizer, seed=2, max_tokens=40)
    [whole] = answers(engine, tokenizer, [one])
    stop = whole.text[12:15]
    ids = ids_written(engine, tokenizer, one)
    found = answers(
        engine, tokenizer, [one.replace(stop=(stop, "zzz")), one.replace(stop_tokens=(ids[7],))]
    )
    assert found[0].text == whole.text[: whole.text.index(stop)]
    assert found[1].text == tokenizer.decode(ids[: ids.index(ids[7])])
    assert [answer.finish for answer in found] == [["stop"], ["stop"]]
    assert stop not in "".join(piece.text for piece in found[0].pieces)


def test_slots_are_free_when_all_is_written(make_engine, tokenizer):
    engine = make_engine("onnx", 3)
    scheduler = Scheduler(engine, tokenizer)
    for _ in range(3):
        found = finished(scheduler, mixed(tokenizer, 8))
        assert all(len(answer.finish) == 1 for answer in found)
        assert (scheduler.waiting, scheduler.working, scheduler.busy) == (0, 0, False)
    stats = scheduler.stats
    assert stats.written == 3 * sum(answer.usage[0].written for answer in found)
    assert 1 < stats.stepped / stats.steps <= 3
    assert scheduler.turn() is False


def test_log_probabilities_come_with_each_token(engine, tokenizer):
    [plain, answer] = answers(
        engine, tokenizer, [request(tokenizer, seed=1), request(tokenizer, seed=1, logprobs=3)]
    )
    assert answer.text == plain.text
    assert b"".join(token.text for token in answer.tokens).decode(errors="replace") == answer.text
    assert not plain.tokens
    for token in answer.tokens:
        logprobs = [logprob for _, _, logprob in token.top]
        assert logprobs == sorted(logprobs, reverse=True)
        assert len(logprobs) == 3
        assert token.logprob <= 0


@pytest.mark.parametrize(
    "values",
    [{"prompt": (5, 300)}, {"stop_tokens": (-1,)}, {"sampling": {"logit_bias": {999: 1.0}}}],
)
def test_a_token_of_another_model_is_refused(engine, tokenizer, values):
    with pytest.raises(ParamsError, match=r"token (300|-1|999): the model has ids from 0 to 299"):
        Scheduler(engine, tokenizer).submit(request(tokenizer, **values), print)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": ()}, "at least one token"), ({"max_tokens": -1}, "max_tokens"),
        ({"stop": ("a", "")}, "an empty text would end at once"), ({"n": 0}, "n"),
        ({"n": 17}, "n"), ({"n": 3, "best_of": 2}, "best_of 2 is less than n 3"),
        ({"timeout": 0}, "timeout"), ({"seed": 2**64}, "seed"), ({"logprobs": 21}, "logprobs"),
        ({"n": 3, "beams": 2}, "beams 2 is less than n 3"),
        ({"beams": 2, "best_of": 2}, "beams and best_of are two ways to search"),
    ],
)  # fmt: skip
def test_a_request_that_contradicts_itself_is_refused(tokenizer, values, message):
    with pytest.raises(ValueError, match=message):
        request(tokenizer).replace(**values)


def test_a_request_that_fails_ends_alone(make_engine, tokenizer, monkeypatch):
    asked = [request(tokenizer, prompt, max_tokens=30, seed=7) for prompt in PROMPTS[:3]]
    alone = answers(make_engine("onnx", 4), tokenizer, asked)
    honest = Writer.write

    def fails(writer, logits):
        if writer.request is asked[1] and len(writer.ids) == 5:
            raise RuntimeError("planted")
        return honest(writer, logits)

    monkeypatch.setattr(Writer, "write", fails)
    scheduler = Scheduler(make_engine("onnx", 4), tokenizer)
    found = [Answer() for _ in asked]
    for one, answer in zip(asked, found, strict=True):
        scheduler.submit(one, answer.pieces.append)
    while scheduler.turn():
        pass
    last = found[1].pieces[-1]
    assert (last.finish, "planted" in last.error) == ("error", True)
    assert [a.texts() for a in found[::2]] == [a.texts() for a in alone[::2]]
    with pytest.raises(MiniGPTError, match="planted"):
        list(scheduler.write(asked[1]))
    assert not scheduler.busy
