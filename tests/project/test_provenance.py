"""The signed statement of a version that the real pipeline made."""

import json

import pytest


@pytest.mark.prove
def test_a_built_version_is_signed_and_a_stranger_with_the_public_key_names_what_changed(
    project, tmp_path
):
    env = {"MINIGPT_KEY": str(tmp_path / "alice.pem")}
    project.minigpt("key", "new", env=env)
    project.minigpt("registry", "sync", env=env)
    own = project.minigpt("verify", "1", "--signature", env=env)
    assert "the signature holds" in own.stdout

    stranger = {"MINIGPT_KEY": "none", "HOME": str(tmp_path)}
    unknown = project.minigpt("verify", "1", "--signature", env=stranger, check=False)
    assert unknown.returncode == 1
    assert "Name one: --key FILE.pub" in unknown.stdout
    public = ("--key", str(tmp_path / "alice.pub"))
    assert (
        "the signature holds"
        in project.minigpt("verify", "1", "--signature", *public, env=stranger).stdout
    )

    [envelope] = project.root.glob("mlruns/**/release/provenance.dsse.json")
    text = envelope.read_text()
    assert str(project.root) not in text
    folder = envelope.parents[1]
    weights = next(folder.rglob("models/int8/model.safetensors"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(data)
    changed = project.minigpt(
        "verify", "1", "--signature", "--json", *public, env=stranger, check=False
    )
    assert changed.returncode == 1
    [problem] = json.loads(changed.stdout)["problems"]
    assert problem.startswith("models/int8/model.safetensors: DIFFERENT")
