"""
Files from where the pillar says: the master's file server (salt://), an artifact repository
(https://), or a directory (file://). Credentials are read from pillar here and go nowhere else.
"""

import logging
import os
import re
import urllib.parse

import requests
from requests.adapters import HTTPAdapter
from salt.exceptions import CommandExecutionError
from urllib3.util.retry import Retry

log = logging.getLogger(__name__)

# Connecting, and the longest silence while reading, in seconds.
TIMEOUT = (5, 30)
SYSTEM_CA = "/etc/ssl/certs/ca-certificates.crt"
SUMS = "SHA256SUMS"


def __virtual__():
    return "globoapp_fetch"


def _credentials():
    """``(user, password)``, a header dict, or None, of pillar ``globoapp:credentials``."""
    given = (__pillar__.get("globoapp") or {}).get("credentials") or {}
    if given.get("token"):
        return {"Authorization": f"Bearer {given['token']}"}
    return (given.get("user", ""), given.get("password", "")) if given else None


def _session(settings):
    session = requests.Session()
    retry = Retry(total=3, backoff_factor=0.3, status_forcelist=(502, 503, 504), raise_on_status=False)
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.verify = settings.get("ca") or (SYSTEM_CA if os.path.exists(SYSTEM_CA) else True)
    secret = _credentials()
    if isinstance(secret, dict):
        session.headers.update(secret)
    elif secret:
        session.auth = secret
    return session


def _download(settings, url, target):
    """One https file to ``target``; raises CommandExecutionError that says what came back."""
    temporary, host = target + ".part", urllib.parse.urlsplit(url).netloc
    try:
        with _session(settings) as session, session.get(url, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == 404:
                raise CommandExecutionError(f"{url} is not there")
            if answer.status_code in (401, 403):
                raise CommandExecutionError(
                    f"{url}: {host} refused the credentials (status {answer.status_code}): see globoapp:credentials"
                )
            if answer.status_code != 200:
                raise CommandExecutionError(f"{url}: status {answer.status_code} {answer.reason}")
            with open(temporary, "wb") as handle:
                for block in answer.iter_content(1 << 18):
                    handle.write(block)
        os.replace(temporary, target)
    except requests.RequestException as error:
        # The error's own words hold the address and the cause, never the credentials.
        raise CommandExecutionError(f"{url} could not be fetched: {error}") from error
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def file(settings, url, sha256=None):
    """
    A local copy of a file; one that is there with the wanted SHA-256 is not fetched again.

    Returns its path. Raises CommandExecutionError: it is not there, cannot be fetched, or is not
    what ``sha256`` says.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_fetch.file '{}' salt://globoapp-1.0.zip
    """
    if url.startswith("https://"):
        parts = urllib.parse.urlsplit(url)
        path = os.path.join(
            __opts__["cachedir"], "globoapp", re.sub(r"[^\w.:-]", "_", parts.netloc), parts.path.lstrip("/")
        )
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        if not (sha256 and os.path.exists(path) and _digest(path) == sha256.lower()):
            _download(settings, url, path)
    elif url.startswith("file://"):
        path = url[len("file://") :]
        if not os.path.isfile(path):
            raise CommandExecutionError(f"{url} is not there")
    else:
        path = __salt__["cp.cache_file"](url)
        if not path:
            raise CommandExecutionError(f"{url} is not there")
    if sha256 and _digest(path) != sha256.lower():
        raise CommandExecutionError(
            f"{url} does not match its checksum: SHA-256 is {_digest(path)}, expected {sha256.lower()}; publish it "
            "again together with its checksum"
        )
    return path


def _digest(path):
    return __utils__["globoapp_files.sha256"](path)


def listing(settings, base):
    """
    The names of the files below ``base``: from the file server, the directory, or the repository's
    ``SHA256SUMS``.

    Returns ``{name: sha256 or None}``.

    CLI Example:

    .. code-block:: bash

        salt 'web*' globoapp_fetch.listing '{}' salt://wheels
    """
    if base.startswith("salt://"):
        prefix = base[len("salt://") :].rstrip("/") + "/"
        prefix = "" if prefix == "/" else prefix
        names = (one[len(prefix) :] for one in __salt__["cp.list_master"]() if one.startswith(prefix))
        return {one: None for one in names if "/" not in one}
    if base.startswith("file://"):
        directory = base[len("file://") :]
        return dict.fromkeys(os.listdir(directory) if os.path.isdir(directory) else [])
    with open(file(settings, f"{base.rstrip('/')}/{SUMS}"), encoding="ascii") as handle:
        return {name: digest for digest, name in re.findall(r"^([0-9a-f]{64})  (\S+)$", handle.read(), re.M)}
