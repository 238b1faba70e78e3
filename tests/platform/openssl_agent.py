# SPDX-License-Identifier: LGPL-2.1-or-later
"""An agent made of the openssl command: every signature, every envelope is what the command lines of protocol.md
1.5, 1.6, 3.2 to 3.4 give, carried by Python's standard library. It is slow and simple on purpose, and shares no
code with the daemon or the stand-in, so that it can be held against either."""

import base64
import datetime
import functools
import json
import os
import socket
import ssl
import struct
import subprocess
import urllib.error
import urllib.parse
import urllib.request
import zlib

CHANNEL_CN = "IoT HSM SMIME Cert for PKIaaS.io Validation"
CA_CONFIGURATION = """
[ca]
default_ca = here
[here]
database = {folder}/{index}
new_certs_dir = {folder}
rand_serial = yes
unique_subject = no
default_md = sha256
policy = anything
email_in_dn = yes
{more}
[anything]
C = optional
ST = optional
L = optional
O = optional
OU = optional
CN = optional
emailAddress = optional
[extensions]
{extensions}
"""


class Failed(Exception):
    """The openssl command or the platform said no."""


def openssl(*arguments, data=b""):
    done = subprocess.run(["openssl", *arguments], input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          check=False)
    if done.returncode:
        raise Failed(f"openssl {arguments[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout


@functools.lru_cache
def new_key(key_type, _purpose="ca"):
    """RSA:BITS or EC:CURVE as PEM; made once for each purpose."""
    algorithm, _, size = key_type.partition(":")
    option = f"rsa_keygen_bits:{size}" if algorithm == "RSA" else f"ec_paramgen_curve:{size}"
    return openssl("genpkey", "-algorithm", algorithm, "-pkeyopt", option)


class Socket:
    """A WebSocket client, just enough of RFC 6455: whole frames, masked, and pongs."""

    def __init__(self, url, tls_ca=None, protocol="pkiaas.iothsm.v1"):
        parts = urllib.parse.urlsplit(url)
        self.stream = socket.create_connection((parts.hostname, parts.port), timeout=20)
        if parts.scheme == "wss":
            context = ssl.create_default_context(cafile=tls_ca)
            self.stream = context.wrap_socket(self.stream, server_hostname=parts.hostname)
        key = base64.b64encode(os.urandom(16)).decode()
        wanted = f"Sec-WebSocket-Protocol: {protocol}\r\n" if protocol else ""
        self.stream.sendall((f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\n"
                             f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
                             f"{wanted}User-Agent: iothsm/test\r\n\r\n").encode())
        self.rest = b""
        while b"\r\n\r\n" not in self.rest:
            more = self.stream.recv(4096)
            if not more:
                raise Failed("the handshake was cut short")
            self.rest += more
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        self.status = int(head.split()[1])
        self.close_code = None
        if self.status != 101:
            raise Failed(f"the handshake was answered with {self.status}")

    def _take(self, size):
        while len(self.rest) < size:
            more = self.stream.recv(65536)
            if not more:
                raise Failed("the connection is gone")
            self.rest += more
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def send_frame(self, opcode, data):
        mask = os.urandom(4)
        size = len(data)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        repeated = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")
        self.stream.sendall(head + mask + masked)

    def send(self, frame):
        self.send_frame(1, frame.encode() if isinstance(frame, str) else json.dumps(frame).encode())

    def receive(self, seconds=20):
        """The next frame as an object; None when the platform closed (close_code says how)."""
        self.stream.settimeout(seconds)
        while True:
            first, second = self._take(2)
            size = second & 0x7F
            if size == 126:
                size = struct.unpack(">H", self._take(2))[0]
            elif size == 127:
                size = struct.unpack(">Q", self._take(8))[0]
            data = self._take(size)
            opcode = first & 0x0F
            if opcode == 9:
                self.send_frame(10, data)
            elif opcode == 8:
                self.close_code = struct.unpack(">H", data[:2])[0] if data else 1005
                self.send_frame(8, data[:2])
                self.stream.close()
                return None
            elif opcode == 1:
                return json.loads(data)

    def close(self):
        self.stream.close()


class Agent:
    def __init__(self, folder, verification_ca, platform_url, tls_ca=None):
        self.folder = folder
        self.verification_ca = verification_ca
        self.platform_url = platform_url
        self.tls_ca = tls_ca
        self.uuid = "0b9c2c1e-5b1e-4f7e-9a53-7d1f0a2b3c4d"
        self.seq = 0
        self.answers = {}
        self.last_id = None
        self.spoil = lambda kind, request: request  # lets a test answer something else than was asked
        self.channel_subject = f"/CN={CHANNEL_CN}"
        self.channel_minutes = (-5, 10)
        self.link = None
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, data):
        with open(self.path(name), "wb") as out:
            out.write(data if isinstance(data, bytes) else data.encode())
        return self.path(name)

    # provisioning

    def provision(self, template, common_name, days=3649, key_type="RSA:2048"):
        """A self-signed CA certificate after |template|, with a key of its own."""
        self.write("ca.key", new_key(key_type))
        text = openssl("x509", "-noout", "-text", data=template.encode()).decode()
        path_length = text.split("pathlen:")[1].split()[0] if "pathlen:" in text else None
        constraints = "critical,CA:TRUE" + (f",pathlen:{path_length}" if path_length else "")
        self.write("root.conf", f"""
[req]
distinguished_name = empty
x509_extensions = extensions
[empty]
[extensions]
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
basicConstraints = {constraints}
keyUsage = critical,keyCertSign,cRLSign
""")
        openssl("req", "-x509", "-new", "-utf8", "-key", self.path("ca.key"), "-days", str(days), "-config",
                self.path("root.conf"), "-subj", f"/C=US/O=IoT-HSM platform stand-in/CN={common_name}", "-out",
                self.path("ca.pem"))
        self._identify()
        return self.path("ca.pem")

    def _identify(self):
        serial = openssl("x509", "-noout", "-serial", "-in", self.path("ca.pem")).decode()
        fingerprint = openssl("x509", "-noout", "-fingerprint", "-sha1", "-in", self.path("ca.pem")).decode()
        self.serial = serial.strip().split("=")[1].lower()
        self.thumbprint = fingerprint.strip().split("=")[1].replace(":", "").lower()

    def issue(self, request_path, extensions, dates, subject=None):
        open(self.path("index"), "w", encoding="ascii").close()
        self.write("ca.conf", CA_CONFIGURATION.format(folder=self.folder, index="index", more="",
                                                      extensions=extensions))
        more = ["-subj", subject] if subject is not None else []
        return openssl("ca", "-in", request_path, "-config", self.path("ca.conf"), "-batch", "-notext", "-utf8",
                       "-keyfile", self.path("ca.key"), "-cert", self.path("ca.pem"), "-extensions", "extensions",
                       *dates, *more)

    def make_channel(self):
        self.write("channel.key", new_key("RSA:2048", "channel"))
        self.write("empty.conf", "[req]\ndistinguished_name = empty\n[empty]\n")
        openssl("req", "-new", "-key", self.path("channel.key"), "-config", self.path("empty.conf"), "-subj", "/CN=x",
                "-out", self.path("channel.csr"))
        now = datetime.datetime.now(datetime.timezone.utc)
        dates = [(now + datetime.timedelta(minutes=m)).strftime("%y%m%d%H%M%SZ") for m in self.channel_minutes]
        certificate = self.issue(self.path("channel.csr"), """
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
keyUsage = critical,digitalSignature,keyEncipherment,dataEncipherment
extendedKeyUsage = critical,emailProtection
""", ["-startdate", dates[0], "-enddate", dates[1]], self.channel_subject)
        self.write("channel.pem", certificate)

    # envelopes

    def sign(self, data):
        return openssl("cms", "-sign", "-signer", self.path("channel.pem"), "-inkey", self.path("channel.key"),
                       "-outform", "SMIME", "-binary", "-nodetach", data=data).decode()

    def seal(self, data, recipient):
        deflated = zlib.compress(data)
        encrypted = openssl("cms", "-encrypt", "-binary", "-aes256", "-recip", recipient, "-outform", "SMIME",
                            data=deflated)
        return self.sign(encrypted)

    def verify(self, smime):
        """The content; the signer's certificate goes to signer.pem."""
        return openssl("cms", "-verify", "-binary", "-inform", "SMIME", "-signer", self.path("signer.pem"), "-CAfile",
                       self.verification_ca, "-no-CApath", "-no-CAstore", data=smime.encode())

    def open(self, smime):
        content = self.verify(smime)
        if b"smime-type=enveloped-data" not in content[:300]:
            raise Failed("the content is not encrypted as the protocol wants it")
        return openssl("cms", "-decrypt", "-binary", "-inform", "SMIME", "-inkey", self.path("channel.key"),
                       data=content)

    # HTTP

    def post(self, path, body, raw=None):
        context = ssl.create_default_context(cafile=self.tls_ca) if self.tls_ca else None
        data = raw if raw is not None else json.dumps(body, separators=(",", ":")).encode()
        request = urllib.request.Request(self.platform_url + path, data=data,
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=20, context=context) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def bootstrap_body(self, signed=None):
        identity = {"serial": self.serial, "thumbprint": self.thumbprint}
        text = signed if signed is not None else json.dumps(identity, separators=(",", ":"))
        return identity | {"smime": self.sign(text.encode())}

    def bootstrap(self):
        status, body = self.post("/api/public/getiotconnectiondata", self.bootstrap_body())
        answer = json.loads(body)
        if status != 200 or not answer["success"]:
            raise Failed(answer.get("message"))
        self.connection = json.loads(self.open(answer["data"]))
        return self.connection

    # the link

    def connect(self, since=None):
        channel = {"id": self.connection["channel_id"], "token": self.connection["websocket"]["token"]}
        if since:
            channel["since"] = since
        self.link = Socket(self.connection["websocket"]["url"], self.tls_ca)
        self.link.send({"op": "hello", "uuid": self.uuid, "agent": "iothsm/test", "channels": [channel]})
        self.seq = 0
        return self.link.receive()

    def publish(self, channel, envelope):
        self.seq += 1
        self.link.send({"op": "publish", "channel": channel, "seq": self.seq, "message": envelope})

    def serve_one(self, seconds=20):
        """Handles the next frame. False when the platform closed."""
        frame = self.link.receive(seconds)
        if frame is None:
            return False
        if frame["op"] != "message":
            return True
        self.last_id = frame["id"]
        envelope = frame["message"]
        if envelope["type"] == "solicit signature":
            self.offer(frame, json.loads(self.verify(envelope["smime"])))
        elif envelope["type"] == "signature request" and envelope["uuid"] == self.uuid:
            inner = json.loads(zlib.decompress(self.open(envelope["smime"])))
            self.answer(frame, envelope["signtype"], inner)
        return True

    def offer(self, frame, asked):
        if (asked["serial"], asked["thumbprint"]) != (self.serial, self.thumbprint):
            return
        inner = {"uuid": self.uuid, "caindex": 0, "siguuid": asked["siguuid"]}
        self.publish(frame["channel"], {"type": "services offerred", "uuid": frame["publisher"],
                                        "siguuid": asked["siguuid"],
                                        "smime": self.sign(json.dumps(inner).encode())})

    def answer(self, frame, kind, inner):
        siguuid = inner["siguuid"]
        recipient = self.path("signer.pem")
        if siguuid not in self.answers:
            try:
                request = self.spoil(kind, inner["request"])
                message = getattr(self, f"make_{kind}")(request)
                if kind == "crl":
                    message = self.deliver(siguuid, message, recipient)
                self.answers[siguuid] = {"success": True, "siguuid": siguuid, "message": message}
            except Failed as failure:
                self.answers[siguuid] = {"success": False, "siguuid": siguuid, "message": str(failure)}
        self.publish(frame["channel"], {"type": "signature response", "siguuid": siguuid, "uuid": frame["publisher"],
                                        "smime": self.seal(json.dumps(self.answers[siguuid]).encode(), recipient)})

    def deliver(self, siguuid, crl, recipient):
        inner = {"success": False, "siguuid": siguuid, "message": crl}
        status, body = self.post(f"/api/public/delivercrl/{self.serial}/{self.thumbprint}",
                                 {"smime": self.seal(json.dumps(inner).encode(), recipient)})
        if status != 200 or not json.loads(body)["success"]:
            raise Failed("connection failure")
        return "crl uploaded"

    # what is signed

    def make_csr(self, request):
        options = request["options"]
        lines = ["subjectKeyIdentifier = hash", "authorityKeyIdentifier = keyid"]
        for name, value in options.get("extensions", {}).items():
            critical = "critical," if isinstance(value, dict) and value.get("critical") else ""
            if name == "basicConstraints":
                length = f",pathlen:{value['pathlen']}" if "pathlen" in value else ""
                lines.append(f"{name} = {critical}CA:{'TRUE' if value.get('CA') else 'FALSE'}{length}")
            elif name in ("keyUsage", "extendedKeyUsage"):
                lines.append(f"{name} = {critical}{','.join(value['usages'])}")
        names = options.get("extensions", {}).get("SANs", {})
        if names:
            lines.append("subjectAltName = " + ",".join(f"{k}:{v}" for k, values in names.items() for v in values))
        subject = None
        if "subject" in options:
            subject = "".join(f"/{k}={v if isinstance(v, str) else v[0]}" for k, v in options["subject"].items())
        path = self.write("request.csr", request["csr"])
        return self.issue(path, "\n".join(lines), ["-days", str(options.get("days", 365))], subject).decode()

    def make_crl(self, request):
        self.write("crl-index", request["database"])
        self.write("crl.conf", CA_CONFIGURATION.format(folder=self.folder, index="crl-index", more="", extensions=""))
        return openssl("ca", "-config", self.path("crl.conf"), "-gencrl", "-crldays", str(request["days"]),
                       "-keyfile", self.path("ca.key"), "-cert", self.path("ca.pem")).decode()

    def make_cms(self, request):
        options = request["options"]
        data = options["data"].encode()
        if options.get("encoding") == "binary":
            data = base64.urlsafe_b64decode(options["data"] + "==")
        more = ["-nosmimecap"] if options.get("smimecap") is False else []
        more += ["-econtent_type", options["contenttype"]] if "contenttype" in options else []
        form = options.get("outform", "PEM")
        made = openssl("cms", "-sign", "-signer", self.path("ca.pem"), "-inkey", self.path("ca.key"), "-outform", form,
                       "-binary", "-nodetach", *more, data=data)
        return base64.b64encode(made).decode() if form == "DER" else made.decode()
