"""The comments API, release 2.0: that of 1.1, with the comments in SQLite, where any worker finds them at any time."""

import json
import os
import sqlite3
import time
from pathlib import Path

import store
from flask import Flask, jsonify, request
from werkzeug.exceptions import BadRequest

STARTED = time.monotonic()
VERSION = json.loads(Path(__file__).with_name("manifest.json").read_text(encoding="utf-8"))["version"]

app = Flask("globoapp")
comments = store.Comments(store.state_directory(os.environ) / "comments.sqlite3")


def is_text(value):
    """Tells whether value is a non-empty string that UTF-8 can hold: half a surrogate pair cannot be stored."""
    return isinstance(value, str) and bool(value.strip()) and value == value.encode("utf-8", "replace").decode("utf-8")


def read_comment():
    """Returns (content_id, email, comment) of the request as strings.

    Raises BadRequest, with every problem in one sentence, where the body is not a comment.
    """
    if not request.is_json:
        raise BadRequest(f"Content-Type must be application/json, not {request.content_type or ''!r}")
    try:
        data = json.loads(request.get_data().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object with email, comment and content_id")
    problems = [f"{name} must be a non-empty string" for name in ("email", "comment") if not is_text(data.get(name))]
    content_id = data.get("content_id")
    # True is an int to Python; a slash would make a comment that no list URL can reach.
    is_number = isinstance(content_id, int) and not isinstance(content_id, bool)
    if not (is_number or (is_text(content_id) and "/" not in content_id)):
        problems.append("content_id must be an integer or a non-empty string without a slash")
    if problems:
        raise BadRequest("; ".join(problems))
    return str(content_id), data["email"], data["comment"]


@app.errorhandler(BadRequest)
def bad_request(error):
    """Returns the reason of a refused request as JSON."""
    return jsonify(status="BAD-REQUEST", message=error.description), 400


@app.errorhandler(sqlite3.DatabaseError)
def unavailable(error):
    """Returns a 503 where the comments cannot be read or written now: a full disk, a damaged file."""
    app.logger.error("%s %s: %s: %s", request.method, request.path, comments.path, error)
    return jsonify(status="UNAVAILABLE", message="the comments cannot be reached now; nothing was stored"), 503


@app.post("/api/comment/new")
def create_comment():
    """Takes JSON with email, comment and content_id; stores the comment and says so."""
    content_id, email, comment = read_comment()
    comments.add(content_id, email, comment)
    return jsonify(status="SUCCESS", message=f"comment created and associated with content_id {content_id}")


@app.get("/api/comment/list/<content_id>")
def list_comments(content_id):
    """Returns the comments of one content, oldest first; 404 where it has none."""
    found = comments.of(content_id)
    if not found:
        return jsonify(status="NOT-FOUND", message=f"content_id {content_id} not found"), 404
    return jsonify(found)


@app.get("/status/")
def status():
    """Returns that this process is alive and reaches the comments, and which one it is; uptime in seconds."""
    comments.check()
    uptime = round(time.monotonic() - STARTED, 3)
    return jsonify(status="OK", version=VERSION, uptime=uptime, pid=os.getpid())
