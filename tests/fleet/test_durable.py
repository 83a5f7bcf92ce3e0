"""2.0 keeps every acknowledged comment: through deploys, kill -9s, and the way to 1.1 and back."""

import pytest
from comment_load import CommentLoad, lost
from polling import until
from releases import release
from server import ROOT
from sweeps import sampled


@pytest.fixture(scope="module")
def web(alone):
    """web2 with 2.0."""
    return alone("web2", "2.0")


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """2.0.1, which is 2.0 under another number, among what the master serves."""
    says = {"json": {"status": "OK", "version": "2.0.1"}}
    with release(tmp_path_factory.mktemp("app"), "2.0.1", base="2.0", health=says):
        yield "2.0.1"


@pytest.mark.parametrize("deploys", sampled([2, 10], 2))
def test_deploys_and_kills_lose_no_comment(web, twin, deploys, say):
    web.deploy("2.0")
    load = CommentLoad(web.url(), writers=4).start()
    try:
        for number in range(deploys):
            before = len(load.acknowledged)
            web.deploy(twin if number % 2 == 0 else "2.0")
            web.sh("pkill -9 -o -u globoapp gunicorn")
            until(lambda before=before: len(load.acknowledged) > before, 60)
    finally:
        acknowledged = load.stop()
    say(f"{len(acknowledged)} comments acknowledged, failures {dict(load.failures)}")
    assert len(acknowledged) > 10
    assert lost(web.url(), acknowledged) == []

    # 1.1 beside it, with a virtualenv of its own, and back: what 2.0 had it still has.
    web.deploy("1.1")
    web.assert_answers("1.1")
    links = web.sh(f"readlink {ROOT}/PACK1_1/.venv {ROOT}/PACK2_0/.venv")
    assert len(set(links.split())) == 2
    web.deploy("2.0")
    assert lost(web.url(), acknowledged) == []
    web.fleet.cut(web.name)
    web.fleet.boot(web.name)
    until(lambda: web.fleet.awake(web.name))
    assert lost(web.url(), acknowledged) == []
