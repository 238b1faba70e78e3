# SPDX-License-Identifier: LGPL-2.1-or-later
"""A proxy, set up as docs/administration.md says."""
import contextlib
import socket
import threading

from machine import (connected, drop_in, platform, read, run, start_platform, stop_platform, test, write)


def pass_on(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Proxy(threading.Thread):
    """Knows CONNECT alone. Any name leads to |port| of loopback, so that only who comes through here gets anywhere."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.port = port
        self.asked = []

    def serve(self, client):
        head = b""
        while b"\r\n\r\n" not in head:
            data = client.recv(4096)
            if not data:
                return
            head += data
        method, target, _ = head.decode().split("\r\n", 1)[0].split(" ")
        self.asked.append((method, target))
        if method != "CONNECT":
            client.sendall(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(("127.0.0.1", self.port)) as server:
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pass_on, args=(server, client), daemon=True)
            back.start()
            pass_on(client, server)
            back.join()

    def run(self):
        def one(client):
            with client:
                self.serve(client)
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=one, args=(self.listener.accept()[0],), daemon=True).start()


@test("behind a proxy all of the link goes through it, and the CA signs")
def _():
    configuration = read("/etc/iothsm/iothsmd.conf")
    port = configuration.strip().rsplit(":", 1)[1]
    stop_platform()
    assert start_platform(int(port), "--tls") == f"https://127.0.0.1:{port}"
    proxy = Proxy(int(port))
    proxy.start()
    try:
        write("/etc/iothsm/iothsmd.conf", f"[Platform]\nUrl=https://127.0.0.1:{port}\nTlsCa=/etc/iothsm/tls-ca.pem\n")
        write("/etc/iothsm/tls-ca.pem", read("/root/platform/tls-ca.pem"))
        with drop_in(f"[Service]\nEnvironment=https_proxy={proxy.url}\n"):
            run("systemctl", "restart", "iothsmd")
            connected("the authority's channel through the proxy")
            platform("sign-csr", "--ca=Sample Root CA", "--name=proxied.example.test", "--days=3")
            # One for what is asked over HTTPS, one for the WebSocket.
            assert len(proxy.asked) >= 2 and set(proxy.asked) == {("CONNECT", f"127.0.0.1:{port}")}, proxy.asked
            stop_platform()
            start_platform(int(port))
            write("/etc/iothsm/iothsmd.conf", configuration)
        connected("the authority's channel without the proxy")
    finally:
        proxy.listener.close()
