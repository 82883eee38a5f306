"""What a worker gathers before it sends."""

from minigpt.generation.piece import Piece, Token, Usage
from minigpt.serving.outbox import QUICKEST, Outbox

USAGE = Usage(prompt=3, cached=0, dropped=0, written=4, rereads=0)


def outbox():
    """An outbox and the clock that it goes by."""
    now = [0.0]
    return Outbox(clock=lambda: now[0]), now


def test_a_first_and_a_last_piece_are_due_at_once_and_others_in_time():
    box, now = outbox()
    assert not box.due
    box.add(1, Piece(0, "a"))
    assert box.due
    box.take()
    box.add(1, Piece(0, "b"))
    assert not box.due
    now[0] += QUICKEST
    assert box.due
    box.take()
    box.add(1, Piece(0, "c", finish="stop", usage=USAGE))
    assert box.due


def test_pieces_of_one_choice_are_joined_and_of_several_are_not():
    box, _ = outbox()
    for piece in (Piece(0, "a"), Piece(1, "x"), Piece(0, "b")):
        box.add(7, piece)
    box.add(8, Piece(0, "z"))
    assert box.take() == [[7, 0, "ab"], [7, 1, "x"], [8, 0, "z"]]
    assert box.empty


def test_tokens_bytes_and_the_end_are_kept():
    box, _ = outbox()
    token = Token(5, b"\xe2\x80", -0.5, ((5, b"\xe2\x80", -0.5), (6, b"b", -1.0)))
    box.add(1, Piece(0, "", (token,)))
    box.add(1, Piece(0, "a", finish="length", usage=USAGE))
    [[_, _, text, finish, usage, tokens, error]] = box.take()
    assert (text, finish, error, usage["written"]) == ("a", "length", None, 4)
    assert tokens == [[5, "â\x80", -0.5, [[5, "â\x80", -0.5], [6, "b", -1.0]]]]


def test_more_texts_are_sent_less_often():
    box, now = outbox()
    for number in range(20):
        box.add(number, Piece(0, "a"))
    box.take()
    for number in range(20):
        box.add(number, Piece(0, "b"))
    now[0] += QUICKEST
    assert not box.due
    now[0] += 2 * QUICKEST
    assert box.due
