"""A user for locust: asks one persona after another for streams, and comes back when it is told to.

    locust -f tests/serve/locustfile.py --headless --users 200 --host http://127.0.0.1:8000

A 503 that says when to come back is as it should be; anything else but a whole stream is a failure.
"""

from __future__ import annotations

from itertools import cycle

import gevent
from locust import HttpUser, task

PERSONAS = cycle(("base", "witty", "calm", "witty@witty-1"))


class Client(HttpUser):
    """One of many."""

    @task
    def stream(self) -> None:
        """A reply, read to its end."""
        body = {
            "model": next(PERSONAS),
            "messages": [{"role": "user", "content": "hello"}],
            "stream": True,
        }
        with self.client.post(
            "/v1/chat/completions", json=body, stream=True, catch_response=True
        ) as answer:
            later = answer.headers.get("Retry-After")
            if answer.status_code == 503 and later:
                answer.success()
                self.environment.events.request.fire(
                    request_type="busy", name="503", response_time=0, response_length=0
                )
                gevent.sleep(int(later))
            elif [line for line in answer.iter_lines() if line][-1] != b"data: [DONE]":
                answer.failure(f"{answer.status_code}: the stream has no end")
