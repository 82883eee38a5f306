import io

from minigpt.log import minutes
from pipelines.display import ERASE, Display
from pipelines.runner import Outcome, Result


class Terminal(io.StringIO):
    def isatty(self):
        return True


def display(out, clock=lambda: 0.0):
    return Display(out, "plan       tiny", ["download", "train_tokenizer"], clock)


def test_a_run_with_nothing_to_do_shows_no_table():
    out = io.StringIO()
    table = display(out)
    table.checking("download")
    table.finished(Result("download", Outcome.UNCHANGED, 0.4))
    table.close()
    assert out.getvalue() == ""


def test_in_a_log_each_stage_is_a_line_and_a_long_one_a_few_more():
    now = [0.0]
    out = io.StringIO()
    table = display(out, lambda: now[0])
    table.finished(Result("download", Outcome.UNCHANGED, 0.4))
    table.checking("train_tokenizer")
    table.started("train_tokenizer")
    for now[0] in (1.0, 5.0, 6.0, 61.0):
        table.said("train_tokenizer", f"step {now[0]:.0f}")
    table.finished(Result("train_tokenizer", Outcome.RAN, 62.0, "2,048 tokens"))
    assert out.getvalue().splitlines() == [
        "plan       tiny",
        "",
        "stage            outcome     time    what happened",
        "download         unchanged   0:00",
        "train_tokenizer  running     0:05    step 5",
        "train_tokenizer  running     1:01    step 61",
        "train_tokenizer  ran         1:02    2,048 tokens",
    ]


def test_on_a_terminal_the_last_line_lives(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    out = Terminal()
    table = display(out)
    table.started("download")
    table.said("download", "x" * 100)
    last = out.getvalue().split(ERASE)[-1]
    assert last.startswith("download         running")
    assert len(last) == 59
    table.finished(Result("download", Outcome.FAILED, 1.0, "wrong sha256\n  in a.zip"))
    assert out.getvalue().endswith("download         failed      0:01    wrong sha256\n")


def test_time_is_minutes_and_seconds():
    assert [minutes(s) for s in (0.9, 59.99, 61, 3600)] == ["0:00", "0:59", "1:01", "60:00"]
