"""The comments API, release 3.0: that of 2.0, with the comments in PostgreSQL, where every server finds them."""

import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

import database
import store
from flask import Flask, jsonify, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

STARTED = time.monotonic()
MANIFEST = json.loads(Path(__file__).with_name("manifest.json").read_text(encoding="utf-8"))
VERSION = MANIFEST["version"]
BODY_BYTES = 256 * 1024  # the longest comment with every character written as \uXXXX\uXXXX, and room
LENGTHS = {"email": 320, "comment": 10_000, "content_id": 200}  # characters
PAGE, LONGEST_PAGE = 100, 1000  # comments
LAST_ID = 2**63 - 1
PER_MINUTE = 600  # new comments of one content
LOG_SECONDS = 5  # between two lines about the database


def configured():
    """Returns the database's address and the comments that a content takes each minute, as the environment says.

    Where they are wrong the process ends with one line for each. gunicorn stops as a whole at exit code 3.
    """
    problems, address, per_minute = [], None, os.environ.get("COMMENTS_PER_MINUTE", str(PER_MINUTE))
    try:
        address = database.address(os.environ)
    except ValueError as error:
        problems.append(str(error))
    if not (per_minute.isascii() and per_minute.isdigit() and 0 < int(per_minute[:10]) <= 1_000_000):
        problems.append(f"COMMENTS_PER_MINUTE is {per_minute[:40]!r}: it must be a whole number from 1 to 1000000")
    if problems:
        print(*(f"globoapp {VERSION} cannot start: {problem}" for problem in problems), sep="\n", file=sys.stderr)
        sys.exit(3)
    return address, int(per_minute)


app = Flask("globoapp")
# One more than is taken: of a body without a length Flask hands over that many, and says nothing of the rest.
app.config["MAX_CONTENT_LENGTH"] = BODY_BYTES + 1
address, per_minute = configured()
comments = store.Comments(database.Database(address, MANIFEST["threads"]), per_minute)
last_logged = -LOG_SECONDS


def text_problems(name, value):
    """Returns what is wrong with the value of the field name: a list of sentences."""
    # Half a surrogate pair cannot be stored as UTF-8.
    if not isinstance(value, str) or not value.strip() or value != value.encode("utf-8", "replace").decode("utf-8"):
        return [f"{name} must be a non-empty string"]
    found = []
    if len(value) > LENGTHS[name]:
        found.append(f"{name} has {len(value)} characters, more than {LENGTHS[name]}")
    if "\0" in value:
        found.append(f"{name} holds a NUL character")
    return found


def content_problems(content_id):
    """Returns what is wrong with a content_id: a list of sentences."""
    # True is an int to Python; a slash would make a comment that no list URL can reach.
    if isinstance(content_id, int) and not isinstance(content_id, bool):
        return text_problems("content_id", str(content_id))
    problems = text_problems("content_id", content_id)
    if not isinstance(content_id, str) or not content_id.strip() or "/" in content_id or "must be" in "".join(problems):
        return ["content_id must be an integer or a non-empty string without a slash"]
    return problems


def read_comment():
    """Returns (content_id, email, comment) of the request as strings.

    Raises BadRequest, with every problem in one sentence, where the body is not a comment; RequestEntityTooLarge.
    """
    if not request.is_json:
        raise BadRequest(f"Content-Type must be application/json, not {request.content_type or ''!r}")
    body = request.get_data()
    if len(body) > BODY_BYTES:
        raise RequestEntityTooLarge
    try:
        data = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object with email, comment and content_id")
    problems = [problem for name in ("email", "comment") for problem in text_problems(name, data.get(name))]
    problems += content_problems(data.get("content_id"))
    if problems:
        raise BadRequest("; ".join(problems))
    return str(data["content_id"]), data["email"], data["comment"]


def read_page():
    """Returns (after, limit) of the request's query as numbers; raises BadRequest with every problem."""
    numbers, problems = [], []
    for name, default, lowest, highest in (("after", 0, 0, LAST_ID), ("limit", PAGE, 1, LONGEST_PAGE)):
        said = request.args.get(name, str(default))
        if said.isascii() and said.isdigit() and len(said) < 20 and lowest <= int(said) <= highest:
            numbers.append(int(said))
        else:
            problems.append(f"{name} must be a whole number from {lowest} to {highest}, not {said[:40]!r}")
    if problems:
        raise BadRequest("; ".join(problems))
    return numbers


@app.errorhandler(BadRequest)
def bad_request(error):
    """Returns the reason of a refused request as JSON."""
    return jsonify(status="BAD-REQUEST", message=error.description), 400


@app.errorhandler(RequestEntityTooLarge)
def too_large(error):
    """Returns a 413 as JSON, after the rest of the body: an answer over unread bytes may never reach the client."""
    stream = request.environ["wsgi.input"]
    for _ in range(32):
        if not stream.read(BODY_BYTES):
            break
    return jsonify(status="TOO-LARGE", message=f"the body is longer than {BODY_BYTES} bytes"), 413


@app.errorhandler(store.TooMany)
def too_many(error):
    """Returns a 429 that says when to come again."""
    message = f"this content has had its {per_minute} comments of this minute; nothing was stored"
    return jsonify(status="TOO-MANY", message=message), 429, {"Retry-After": str(error.seconds)}


@app.errorhandler(database.Unavailable)
def unavailable(error):
    """Returns a 503 with the reason where the comments cannot be read or written now."""
    log(error)
    message = error.reason
    if request.method == "POST":
        message += "; nothing was stored" if error.stored is False else "; it is not known if the comment was stored"
    return jsonify(status="UNAVAILABLE", message=message), 503


def log(error):
    """Logs error, unless there was such a line a moment ago: a database may be away for hours."""
    global last_logged
    if time.monotonic() - last_logged >= LOG_SECONDS:
        last_logged = time.monotonic()
        app.logger.error("%s %s: %s", request.method, request.path, database.for_the_log(error))


@app.post("/api/comment/new")
def create_comment():
    """Takes JSON with email, comment and content_id; stores the comment and says so."""
    content_id, email, comment = read_comment()
    comments.add(content_id, email, comment)
    return jsonify(status="SUCCESS", message=f"comment created and associated with content_id {content_id}")


@app.get("/api/comment/list/<content_id>")
def list_comments(content_id):
    """Returns the comments of one content, oldest first, a page of them; 404 where it has none.

    The header Link names the next page, if there is one.
    """
    after, limit = read_page()
    # The database cannot even be asked for a NUL.
    page, following = (None, None) if "\0" in content_id else comments.of(content_id, after, limit)
    if page is None:
        return jsonify(status="NOT-FOUND", message=f"content_id {content_id} not found"), 404
    answer = jsonify(page)
    if following is not None:
        path = quote(request.script_root + "/api/comment/list/") + quote(content_id, safe="")
        answer.headers["Link"] = f'<{path}?limit={limit}&after={following}>; rel="next"'
    return answer


@app.get("/status/")
def status():
    """Returns that this process is alive, whatever the database does, and which one it is; uptime in seconds."""
    uptime = round(time.monotonic() - STARTED, 3)
    return jsonify(status="OK", version=VERSION, uptime=uptime, pid=os.getpid())


@app.get("/ready/")
def ready():
    """Returns whether requests can be served: the database answers, and its schema is new enough."""
    revision = comments.revision()
    if not store.is_new_enough(revision):
        message = f"the database's schema is {revision}, this version needs {store.SCHEMA} or later"
        return jsonify(status="UNAVAILABLE", message=message), 503
    return jsonify(status="OK", version=VERSION, schema=revision)
