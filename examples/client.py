"""A client in Python, standard library only: python3 examples/client.py (see README.md)."""
import json
import os
import sys
import time
import urllib.error
import urllib.request

URL = os.environ.get("FLEETLOG_URL", "http://127.0.0.1:8080")
ENDED = ("acked", "failed", "timed_out", "cancelled")
headers = {"content-type": "application/json"}


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{URL}/api/v1{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:  # the body of a 4xx or 5xx says why
        sys.exit(f"{method} {path}: {refused.code} {refused.read().decode()}")


if not {"FLEETLOG_EMAIL", "FLEETLOG_PASSWORD"} <= os.environ.keys():
    sys.exit("set FLEETLOG_EMAIL and FLEETLOG_PASSWORD first")
login = {"email": os.environ["FLEETLOG_EMAIL"], "password": os.environ["FLEETLOG_PASSWORD"]}
headers["authorization"] = "Bearer " + call("POST", "/auth/login", login)["access_token"]

devices = call("GET", "/devices?status=online")["items"]
print("online:", [device["uid"] for device in devices])
uid = os.environ.get("FLEETLOG_DEVICE") or devices[0]["uid"]

command = call("POST", f"/devices/{uid}/commands", {"cmd": "ping", "timeout_s": 10})
until = time.monotonic() + 20
while command["status"] not in ENDED:
    if time.monotonic() > until:
        sys.exit(f"{uid} has not answered within 20 s: is it connected? FLEETLOG_DEVICE chooses another")
    time.sleep(0.2)
    command = call("GET", f"/commands/{command['cmd_id']}")
print("ping:", command["status"], command["result"])

reading = call("GET", f"/telemetry/{uid}?limit=1")["items"][0]
print("last reading:", reading["ts"], reading["payload"])
