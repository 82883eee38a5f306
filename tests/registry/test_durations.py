from minigpt.graph import read_graph
from minigpt.registry.durations import stage_durations
from minigpt.tracking import open_journal


def test_a_stage_took_as_long_as_the_run_that_made_its_outputs(changed):
    assert stage_durations(changed.root) == {}
    for digest in (read_graph(changed.root)["pretrain"].output_digest(changed.root), "another"):
        tracker = open_journal(changed.root, "pretrain", "pretrain")
        tracker.tag("minigpt.output_digest", digest)
        tracker.close()
    [(stage, seconds)] = stage_durations(changed.root).items()
    assert stage == "pretrain"
    assert 0 <= seconds < 60


def test_a_folder_without_a_store_knows_no_durations(checkout):
    assert stage_durations(checkout.root) == {}
