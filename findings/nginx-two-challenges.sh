#!/bin/sh
# nginx's auth_request passes on only the first of two WWW-Authenticate lines.
#
# A server may offer several authentication schemes, each in a WWW-Authenticate line of its own (RFC 9110, section
# 11.6.1). nginx copies the challenge of a 401 from an auth_request subrequest to its client.
#
# Guess: it copies both lines, as proxy_pass does. Seen on 2026-11-30 with nginx 1.22.1 of Debian 12:
#
#   proxy_pass:   Bearer realm="a", Basic realm="b"
#   auth_request: Bearer realm="a"
#
# Only the first arrives, so a client that knows Basic alone finds nothing to offer. mintkey sends one challenge.
set -eu

work=$(mktemp -d)
pids=
# shellcheck disable=SC2086
trap '[ -z "$pids" ] || kill $pids 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
{ apt-get download nginx && dpkg -x nginx_*.deb root; } >log 2>&1 || { cat log >&2 && exit 2; }
nginx=$work/root/usr/sbin/nginx
"$nginx" -v 2>&1 | grep -q 'nginx/1\.22\.' || { echo "another version: $("$nginx" -v 2>&1)" >&2 && exit 2; }

cat >try.py <<'PYTHON'
import http.client, socket, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Upstream(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Bearer realm="a"')
        self.send_header("WWW-Authenticate", 'Basic realm="b"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
threading.Thread(target=upstream.serve_forever, daemon=True).start()
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
paths = "".join(f"{kind}_temp_path {kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"])
open("nginx.conf", "w").write(f"""daemon off; master_process off; pid pid; events {{}} http {{ access_log off; {paths}
server {{ listen 127.0.0.1:{port};
    location = /proxied {{ proxy_pass http://127.0.0.1:{upstream.server_port}; }}
    location = /auth {{ internal; proxy_pass http://127.0.0.1:{upstream.server_port}; }}
    location = /checked {{ auth_request /auth; root .; }} }} }}""")
nginx = subprocess.Popen([sys.argv[1], "-e", "stderr", "-p", ".", "-c", "nginx.conf"])
try:
    for attempt in range(100):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    for name, path in [("proxy_pass", "/proxied"), ("auth_request", "/checked")]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 401, response.status
        print(f"{name}: {', '.join(response.headers.get_all('WWW-Authenticate'))}")
finally:
    nginx.terminate()
    nginx.wait()
PYTHON
python3 try.py "$nginx" >seen || exit 2
cat seen
printf '%s\n' 'proxy_pass: Bearer realm="a", Basic realm="b"' 'auth_request: Bearer realm="a"' >expected
cmp -s seen expected || exit 1
