"""A change reruns what depends on it, and nothing else."""

import re


def ran(done):
    return set(re.findall(r"^Running stage '(.+)':", done.stdout, re.MULTILINE))


def test_evaluate_params_rerun_evaluate_and_what_follows_only(project):
    project.set_params(lambda p: p["evaluate"].update(passage_bytes=700))
    assert ran(project.repro()) == {"evaluate", "manifest"}


def test_a_wider_model_reruns_pretrain_onward_and_no_data_stage(project):
    project.set_params(lambda p: p["model"].update(n_layer=1))
    stages = ran(project.repro("finetune"))
    assert stages == {"pretrain", "finetune"}


def test_own_text_reruns_download_and_only_kept_documents_go_further(project, tmp_path):
    letters = tmp_path / "letters"
    letters.mkdir()
    lines = "\n\n".join(
        f"Dear friend, this is letter {i} of many that I write to you." for i in range(90)
    )
    for year in range(6):
        (letters / f"{1860 + year}.txt").write_text(f"In the year {1860 + year}.\n\n{lines}\n")

    def own(values):
        values["sources"]["letters"] = {
            "kind": "local",
            "path": "data/local/letters",
            "role": "finetune",
            "licence": "private",
            "files": ["*.txt"],
        }

    target = project.root / "data" / "local" / "letters"
    target.mkdir(parents=True)
    for path in letters.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    project.set_params(own)
    project.set_params(lambda p: p["validate"]["finetune_bytes"].update(max=10**6))
    assert {"download", "validate", "tokenize"} <= ran(project.repro("tokenize"))
    # A new exact duplicate is dropped by validate: what is kept stays as it was.
    (target / "copy.txt").write_bytes((letters / "1860.txt").read_bytes())
    first = ran(project.repro("tokenize"))
    assert first == {"download", "validate"}
