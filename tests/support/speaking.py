"""Who speaks into a monitor over HTTP, as its page does."""

from __future__ import annotations

import http.client
import json
from typing import Any

from shown import Answer, port_of


class Speaker:
    """A page of the monitor, as a browser sends its requests."""

    def __init__(self, monitor: Any, token: str = "") -> None:
        self.monitor = monitor
        self.host = f"127.0.0.1:{port_of(monitor)}"
        self.token = token
        self.session: dict[str, Any] = {}

    def post(
        self, path: str, body: bytes = b"", without: str = "", **headers: str | None
    ) -> Answer:
        """``without``: a header that is left out."""
        given = {"Origin": f"http://{self.host}", "Sec-Fetch-Site": "same-origin", **headers}
        named = {n.replace("_", "-"): v for n, v in given.items() if n != without and v is not None}
        connection = http.client.HTTPConnection("127.0.0.1", port_of(self.monitor), timeout=20)
        mark = "&" if "?" in path else "?"
        try:
            where = f"{path}{mark}token={self.token}" if self.token else path
            connection.request("POST", where, body, named)
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def begin(self, now_us: int = 0, **headers: str) -> Answer:
        body = json.dumps({"now_us": now_us}).encode()
        answer = self.post("/api/speak", body, **{"Content_Type": "application/json", **headers})
        if answer.status == 201:
            self.session = json.loads(answer.content)
        return answer

    def send(self, input: str, at_us: int, body: bytes, rate: int = 0, **headers: str) -> Answer:
        path = f"/api/speak/record?input={input}&at_us={at_us}&rate={rate}"
        given = {"X_Motet_Session": self.session["session"], **headers}
        return self.post(path, body, **given)

    def end(self) -> Answer:
        return self.post("/api/speak/end", X_Motet_Session=self.session["session"])
