from minigpt.tracking import numbers


def test_numbers_of_nested_metrics_get_dotted_names_and_the_machine_stays_out():
    metrics = {
        "val": {"loss": 1, "name": "x", "done": True},
        "n": 2.5,
        "machine": {"threads": 2, "micro_batch": None},
    }
    assert numbers(metrics) == {"val.loss": 1.0, "n": 2.5}
