"""The comments API, release 1.1: 1.0 plus /status/, and a JSON 400 for a malformed request."""

import json
import os
import time

from flask import Flask, jsonify, request
from werkzeug.exceptions import BadRequest

STARTED = time.monotonic()
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "manifest.json")) as manifest:
    VERSION = json.load(manifest)["version"]

app = Flask("globoapp")

comments = {}


def read_comment():
    """Returns (content_id, email, comment) of the request as strings.

    Raises BadRequest, with every problem in one sentence, where the body is not a comment.
    """
    if not request.is_json:
        raise BadRequest("Content-Type must be application/json, not {!r}".format(request.content_type or ""))
    try:
        data = json.loads(request.get_data().decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}")
    if not isinstance(data, dict):
        raise BadRequest("the body must be a JSON object with email, comment and content_id")
    problems = [
        f"{name} must be a non-empty string"
        for name in ("email", "comment")
        if not (isinstance(data.get(name), str) and data[name].strip())
    ]
    content_id = data.get("content_id")
    # True is an int to Python; a slash would make a comment that no list URL can reach.
    is_number = isinstance(content_id, int) and not isinstance(content_id, bool)
    is_name = isinstance(content_id, str) and content_id.strip() and "/" not in content_id
    if not (is_number or is_name):
        problems.append("content_id must be an integer or a non-empty string without a slash")
    if problems:
        raise BadRequest("; ".join(problems))
    return str(content_id), data["email"], data["comment"]


@app.errorhandler(BadRequest)
def bad_request(error):
    """Returns the reason of a refused request as JSON."""
    return jsonify(status="BAD-REQUEST", message=error.description), 400


@app.route("/api/comment/new", methods=["POST"])
def create_comment():
    """Takes JSON with email, comment and content_id; stores the comment and says so."""
    content_id, email, comment = read_comment()
    comments.setdefault(content_id, []).append({"email": email, "comment": comment})
    message = f"comment created and associated with content_id {content_id}"
    return jsonify(status="SUCCESS", message=message)


@app.route("/api/comment/list/<content_id>")
def list_comments(content_id):
    """Returns the comments of one content, oldest first; 404 where it has none."""
    if content_id not in comments:
        message = f"content_id {content_id} not found"
        return jsonify(status="NOT-FOUND", message=message), 404
    return jsonify(comments[content_id])


@app.route("/status/")
def status():
    """Returns that this process is alive, and which one it is; uptime in seconds."""
    uptime = round(time.monotonic() - STARTED, 3)
    return jsonify(status="OK", version=VERSION, uptime=uptime, pid=os.getpid())
