#!/opt/motet/bin/python -IS
"""Exit code 0 where an address answers 200, else 1: the image's `motet-probe`, for health checks.

`motet-probe /readyz` asks the motet of this container, with the token of METRICS_TOKEN_FILE where
that is set; `motet-probe :52365/api/healthz` asks another port here, without it. Stdlib without
site-packages: it starts in some 50 ms, and is started every few seconds.
"""

import http.client
import os
import sys

PORT = 9464  # of `metrics.port`
TIMEOUT_S = 4.0


def main(target: str) -> int:
    """The exit code; what was wrong goes to stderr, where kubelet and Docker keep it."""
    port, _, path = target.partition("/")
    headers = {}
    try:
        token_file = os.environ.get("METRICS_TOKEN_FILE")
        if token_file and not port:
            with open(token_file, encoding="utf-8") as file:
                headers["Authorization"] = f"Bearer {file.read().strip()}"
        number = int(port.removeprefix(":") or PORT)
        connection = http.client.HTTPConnection("127.0.0.1", number, timeout=TIMEOUT_S)
        connection.request("GET", f"/{path}", headers=headers)
        answer = connection.getresponse()
        told = answer.read(300).decode(errors="replace").strip()
    except (OSError, ValueError, http.client.HTTPException) as error:
        sys.stderr.write(f"{target}: {error}\n")
        return 1
    if answer.status != 200:
        sys.stderr.write(f"{target}: {answer.status} {told}\n")
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.stderr.write("one argument: /PATH or :PORT/PATH\n")
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
