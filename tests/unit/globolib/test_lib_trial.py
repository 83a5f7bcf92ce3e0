"""What units and gunicorn read, as it is written."""

import os

from globolib import files, trial


def test_an_environment_is_for_root_alone(tmp_path, umask):
    path = str(tmp_path / "own" / "PACK1_0.env")
    assert trial.write({path: "A=1\n"}) == [path]
    assert files.read(path) == "A=1\n" and os.stat(path).st_mode & 0o7777 == 0o600
    assert trial.write({path: "A=1\n"}) == []
    os.chmod(path, 0o640)
    assert trial.write({path: "A=1\n"}) == [path]
    with open(path, "wb") as handle:
        handle.write(b"\xff")
    assert trial.write({path: "A=1\n"}) == [path]
    assert files.read(path) == "A=1\n" and os.stat(path).st_mode & 0o7777 == 0o600
