"""Answers requests by an app's Flask test client: one JSON request per line in, one JSON answer per line out.

It runs on the Python of the app's own virtualenv, in the app's directory.
"""

import base64
import json
import sys

sys.path.insert(0, ".")
import api


def answer(request):
    """Takes a request (dict: method, path, body in base64, headers); returns status, body (base64) and headers."""
    try:
        response = api.app.test_client().open(
            request["path"],
            method=request["method"],
            data=base64.b64decode(request["body"]),
            headers=request["headers"],
        )
    except Exception as error:  # noqa: BLE001 - debug mode lets it through to the WSGI server, whose answer is a 500
        body = f"{type(error).__name__}: {error}"
        return {"status": 500, "body": base64.b64encode(body.encode()).decode()}
    body = base64.b64encode(response.get_data()).decode()
    return {"status": response.status_code, "body": body, "headers": dict(response.headers)}


for line in sys.stdin:
    print(json.dumps(answer(json.loads(line))), flush=True)
