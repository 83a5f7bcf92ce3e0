"""Tells, as JSON, which parts of its libraries an app runs while it answers every kind of request.

It runs on the Python of the app's own virtualenv, in the app's directory. docs/vulnerabilities.md rests on it.
"""

import functools
import json
import sys

sys.path.insert(0, ".")
import api  # noqa: E402 - the app in the current directory
import flask  # noqa: E402
import jinja2  # noqa: E402
import werkzeug.debug  # noqa: E402
import werkzeug.formparser  # noqa: E402
import werkzeug.http  # noqa: E402
from werkzeug.test import Client  # noqa: E402
from werkzeug.wrappers import Response  # noqa: E402

PATHS = [
    "/api/comment/new",
    "/api/comment/list/1",
    "/status/",
    "/console",
    "/?__debugger__=yes&cmd=resource&f=style.css",
]
BODIES = [
    ("application/json", b'{"email": "a", "comment": "b", "content_id": 1}'),
    ("application/json", b"{"),
    ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--b--\r\n'),
    ("application/x-www-form-urlencoded", b"a=b"),
    ("text/plain", b"a"),
]

SUSPECTS = {
    "multipart parser": (werkzeug.formparser.MultiPartParser, "parse"),
    "form parser": (werkzeug.formparser.FormDataParser, "parse"),
    "template environment": (jinja2.Environment, "__init__"),
    "debugger": (werkzeug.debug.DebuggedApplication, "__call__"),
}
reached = set()


def watch(name, owner, attribute):
    """Makes each call of the function attribute (str) of owner add name to what was reached."""
    original = getattr(owner, attribute)

    @functools.wraps(original)
    def watched(*arguments, **options):
        reached.add(name)
        return original(*arguments, **options)

    setattr(owner, attribute, watched)


def careless():
    """Returns an app that runs everything that is watched: the proof that the watching sees it."""
    app = flask.Flask("careless")

    @app.route("/", methods=["POST"])
    def everything():
        text = flask.render_template_string("{{ request.form['a'] }} {{ request.cookies['session'] }}")
        answer = flask.make_response(text)
        answer.set_cookie("seen", "1")
        return answer

    return werkzeug.debug.DebuggedApplication(app)


def ask(app, paths):
    """Sends every kind of request to paths of app (a WSGI callable); returns the Set-Cookie headers that came back."""
    client = Client(app, Response, use_cookies=False)
    cookies = set()
    for path in paths:
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            for kind, body in BODIES:
                headers = {"Cookie": "=__Host-session=1; session=2", "Content-Type": kind}
                try:
                    answer = client.open(path, method=method, data=body, headers=headers)
                except (TypeError, KeyError):
                    continue  # 1.0 on a malformed request
                cookies.update(answer.headers.getlist("Set-Cookie"))
    return sorted(cookies)


def main():
    """Prints what the app reached, and then what the careless one did."""
    for name, (owner, attribute) in SUSPECTS.items():
        watch(name, owner, attribute)
    for module in [module for module in list(sys.modules.values()) if hasattr(module, "parse_cookie")]:
        watch("cookie parser", module, "parse_cookie")
    found = {}
    for name, app, paths in (("app", api.app, PATHS), ("careless", careless(), ["/"])):
        reached.clear()
        cookies = ask(app, paths)
        found[name] = sorted(reached) + cookies
    print(json.dumps(found))


main()
