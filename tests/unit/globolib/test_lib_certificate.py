"""Certificates: what is wrong with one, by openssl's own files; and the one that is made for a lab."""

import os
import subprocess

import pytest
from globolib import certificate, files, health
from globolib.errors import Failure


def made(directory, name="a.example", days=30, more=()):
    """Certificate and key of a name, signed by themselves."""
    directory.mkdir(exist_ok=True)
    pair = str(directory / "c.pem"), str(directory / "k.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=x", "-addext", f"subjectAltName=DNS:{name}", "-days", str(days), *more]
    subprocess.run([*command, "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True)
    return pair


def problem(*arguments):
    """The words of the failure."""
    with pytest.raises(Failure) as failure:
        certificate.days_left(*arguments)
    return str(failure.value)


def test_a_good_one_says_how_long(tmp_path):
    pair = made(tmp_path / "one", "*.site.example")
    assert 29 < certificate.days_left(*pair, ["a.site.example"]) <= 30
    assert certificate.days_left(*pair, ["*.site.example"]) == pytest.approx(certificate.days_left(*pair, []), abs=0.1)


def test_one_that_a_ca_has_signed_needs_no_trust_in_the_ca(tmp_path):
    ca, ca_key = made(tmp_path / "ca", "ca")
    key, request, leaf = (str(tmp_path / name) for name in ("k.pem", "r.pem", "c.pem"))
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=x"]
    new += ["-addext", "subjectAltName=DNS:a.example", "-keyout", key, "-out", request]
    sign = ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-days", "9", "-out", leaf]
    for command in (new, [*sign, "-CAcreateserial", "-copy_extensions", "copy"]):
        subprocess.run(command, check=True, capture_output=True)
    with open(leaf, "a") as handle, open(ca) as chain:
        handle.write(chain.read())
    assert 8 < certificate.days_left(leaf, key, ["a.example"]) <= 9


def test_what_is_wrong_is_told(tmp_path):
    one, key = made(tmp_path / "one")
    _, other = made(tmp_path / "other")
    assert problem(one, str(tmp_path / "none"), []).endswith("it cannot be read: No such file or directory")
    assert problem(one, other, []) == f"proxy:key is {other}: it is not the key of {one}"
    assert "clients would refuse it as b.example: Hostname mismatch" in problem(one, key, ["a.example", "b.example"])
    ended, request = str(tmp_path / "ended.pem"), str(tmp_path / "request.pem")
    for command in (
        ["openssl", "req", "-new", "-key", key, "-subj", "/CN=x", "-out", request],
        ["openssl", "x509", "-req", "-in", request, "-signkey", key, "-days", "-1", "-out", ended],
    ):
        subprocess.run(command, check=True, capture_output=True)
    assert "clients would refuse it: certificate has expired" in problem(ended, key, [])
    junk = tmp_path / "junk"
    junk.write_text("junk")
    junk.chmod(0o600)
    assert "it cannot be used with" in problem(str(junk), key, [])
    os.chmod(key, 0o644)
    assert "every account of this host can use it" in problem(one, key, [])


def test_a_key_with_a_password_is_refused_without_asking(tmp_path):
    one, key = made(tmp_path / "one")
    locked = str(tmp_path / "locked.pem")
    subprocess.run(
        ["openssl", "ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", locked], check=True, capture_output=True
    )
    assert "the key without a password" in problem(one, locked, [])


def test_one_for_a_lab_is_made_once_and_again_before_it_ends(tmp_path):
    pair = str(tmp_path / "proxy/c.pem"), str(tmp_path / "proxy/k.pem")
    assert certificate.make(*pair, ["a.example"], "globoapp") is True
    assert [oct(os.stat(path).st_mode & 0o777) for path in (tmp_path / "proxy", *pair)] == ["0o700", "0o644", "0o600"]
    assert certificate.make(*pair, ["a.example"], "globoapp") is False
    assert certificate.make(*pair, ["b.example"], "globoapp") is True, "another name"
    made(tmp_path / "proxy", "b.example", days=certificate.RENEW - 1)
    assert certificate.make(*pair, ["b.example"], "globoapp") is True, "it ends soon"
    assert certificate.days_left(*pair, ["b.example"]) > 300
    assert sorted(os.listdir(tmp_path / "proxy")) == ["c.pem", "k.pem"]


def test_the_first_certificate_of_a_file(tmp_path):
    one, other = (files.read(made(tmp_path / name)[0]) for name in ("one", "other"))
    chain = tmp_path / "chain.pem"
    chain.write_text(f"words\n{one}{other}")
    assert health.first_certificate(str(chain)).split() == one.split()
    chain.write_text("words\n")
    with pytest.raises(ValueError, match="holds no certificate"):
        health.first_certificate(str(chain))
