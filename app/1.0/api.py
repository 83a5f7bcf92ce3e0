"""The comments API, release 1.0: comments by content, kept in the memory of one process."""

from flask import Flask, jsonify, request

app = Flask("globoapp")
app.debug = True

comments = {}


@app.route("/api/comment/new", methods=["POST"])
def create_comment():
    """Takes JSON with email, comment and content_id; stores the comment and says so."""
    data = request.get_json()
    email = data["email"]
    comment = data["comment"]
    content_id = str(data["content_id"])
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
