"""As much of the Hugging Face hub as a download needs, for one repository, on the loopback interface.

    python3 hub.py DIRECTORY REPOSITORY

Serves the files of DIRECTORY as REPOSITORY (owner/name). Prints its port, then the path of each file that it is asked for, and ends
when its standard input does.
"""

import http.server
import json
import pathlib
import sys
import threading

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def handler(directory, repository):
    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.split("?")[0]
            if path in (f"/api/models/{repository}", f"/api/models/{repository}/revision/main"):
                files = [str(f.relative_to(directory)) for f in sorted(directory.rglob("*")) if f.is_file()]
                body = json.dumps({"sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}).encode()
                return self.answer(200, body, {"Content-Type": "application/json"})
            prefix = f"/{repository}/resolve/main/"
            file = directory / path[len(prefix):]
            if not path.startswith(prefix) or not file.is_file():
                return self.answer(404, b"", {})
            data = file.read_bytes()
            first, last = 0, len(data) - 1
            asked = self.headers.get("Range")
            if asked:
                start, _, end = asked.removeprefix("bytes=").partition("-")
                first, last = int(start), min(int(end or last), last)
            if not asked or (first, last) != (0, 0):
                print(path[len(prefix):], flush=True)
            headers = {
                "ETag": f'"{len(data)}-{abs(hash(file.name))}"',
                "X-Repo-Commit": COMMIT,
                "Accept-Ranges": "bytes",
                "Content-Range": f"bytes {first}-{last}/{len(data)}",
            }
            self.answer(206 if asked else 200, data[first:last + 1], headers)

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Hub


def main(directory, repository):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler(pathlib.Path(directory), repository))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
