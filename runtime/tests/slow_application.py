"""A WSGI application to test the web server with. It answers when the test allows it."""

import os
import time
from pathlib import Path


def application(environ, start_response):
    gate = Path(os.environ["GATE"])
    if environ["PATH_INFO"] == "/wait":
        gate.with_suffix(".entered").touch()
        while not gate.exists():
            time.sleep(0.02)
    content = environ["wsgi.input"].read() or environ["PATH_INFO"].encode()
    headers = [("Content-Length", str(len(content))), ("X-Process", str(os.getpid()))]
    start_response("200 OK", headers)
    return [content]
