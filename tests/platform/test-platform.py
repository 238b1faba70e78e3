#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The platform stand-in against an agent made of the openssl command (openssl_agent.py): what it says opens with
openssl, what openssl makes is accepted, and what is wrong is noticed. Prints TAP.

usage: test-platform.py IOTHSM-PLATFORM"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import urllib.error
import urllib.parse
import urllib.request
import zlib

from openssl_agent import Agent, Failed, Socket, openssl

PROGRAM = sys.argv[1]


SEED = tempfile.TemporaryDirectory(prefix="iothsm-platform-seed-")  # certificates that all runs begin with


class Platform:
    def __init__(self, folder, *options):
        self.folder = folder
        if not os.path.exists(folder) and folder != SEED.name:
            shutil.copytree(SEED.name, folder, ignore=shutil.ignore_patterns("authorities", "*.sock", "token.key"))
        self.process = subprocess.Popen([PROGRAM, "serve", f"--directory={folder}", *options], stdout=subprocess.PIPE,
                                        stderr=open(folder + ".log", "w", encoding="utf-8"), text=True)
        for line in self.process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "url":
                self.url = rest
                break

    def run(self, verb, *arguments, fails=False, data=None):
        done = subprocess.run([PROGRAM, verb, f"--directory={self.folder}", *arguments], input=data, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        assert (done.returncode != 0) == fails, f"{verb} {arguments}: status {done.returncode}: {done.stderr}"
        return done.stdout if not fails else done.stderr

    def status(self):
        return json.loads(self.run("status"))

    def counter(self, name):
        return self.status()["counters"].get(name, 0)

    def complaints(self):
        return self.status()["complaints"]

    def stop(self):
        self.run("stop")
        assert self.process.wait(20) == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(20)
        self.process.stdout.close()
        with open(self.folder + ".log", encoding="utf-8") as log:
            assert status == 0, log.read()  # a sanitizer has something to say


def provisioned(platform, folder, name="Home", key_type="RSA:2048", tls=False):
    tls_ca = os.path.join(platform.folder, "tls-ca.pem") if tls else None
    agent = Agent(os.path.join(folder, "agent"), os.path.join(platform.folder, "verification-ca.pem"), platform.url,
                  tls_ca)
    template = platform.run("create-ca", f"--name={name}", "--pathlen=1")
    platform.run("import-certificate", agent.provision(template, name, key_type=key_type))
    agent.make_channel()
    return agent


@contextlib.contextmanager
def connected(folder, *options, key_type="RSA:2048"):
    """A platform with one agent on its link."""
    with Platform(os.path.join(folder, "platform"), *options) as platform:
        agent = provisioned(platform, folder, key_type=key_type, tls="--tls" in options)
        agent.bootstrap()
        welcome = agent.connect()
        assert welcome == {"op": "welcome", "platform": "iothsm-platform",
                           "channels": [{"id": agent.connection["channel_id"], "ok": True}]}, welcome
        yield platform, agent


class Dropped:
    """What an agent could not read, and waiting for the next such message."""

    def __init__(self):
        self.reasons = []
        self.another = threading.Semaphore(0)

    def add(self, why):
        self.reasons.append(why)
        self.another.release()

    def wait(self, seconds):
        return self.another.acquire(timeout=seconds)


@contextlib.contextmanager
def serving(agent):
    """The agent answers in a thread of its own; what it can't read it drops."""
    dropped = Dropped()

    def loop():
        while True:
            try:
                if not agent.serve_one(60):
                    return
            except (Failed, ValueError, KeyError, RecursionError, zlib.error) as why:
                if str(why) == "the connection is gone":
                    return
                dropped.add(str(why))
            except OSError:
                return

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    yield dropped
    agent.link.stream.shutdown(2)
    thread.join(20)


# What holds true.

def bootstrap_request_of_openssl_is_answered_so_that_openssl_opens_it(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)
        data = agent.bootstrap()
        assert set(data) == {"channel_id", "websocket"}, data
        assert data["websocket"]["url"] == platform.url.replace("http", "ws") + "/api/public/iothsm/link"
        assert len(data["websocket"]["token"]) >= 43 and data["websocket"]["expires"] == 3600
        assert platform.complaints() == []


def bootstrap_of_an_unknown_authority_is_refused(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)
        agent.thumbprint = "00" * 20
        status, body = agent.post("/api/public/getiotconnectiondata", agent.bootstrap_body())
        assert (status, json.loads(body)) == (200, {"success": False, "message": "Certificate authority not found"})


def bootstrap_with_wrong_content_or_signer_is_refused(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)

        def refused(body, why):
            status, answer = agent.post("/api/public/getiotconnectiondata", body)
            message = json.loads(answer)
            assert status == 200 and not message["success"] and why in message["message"], message

        refused(agent.bootstrap_body(signed="{}"), "exactly serial and thumbprint")
        agent.channel_minutes = (-5, 30)
        agent.make_channel()
        refused(agent.bootstrap_body(), "more than 15 minutes")
        agent.channel_minutes = (-5, 10)
        agent.channel_subject = "/CN=Somebody"
        agent.make_channel()
        refused(agent.bootstrap_body(), "doesn't have the subject")
        crlf = agent.bootstrap_body()
        crlf["smime"] = crlf["smime"].replace("\n", "\r\n")
        refused(crlf, "header lines")
        assert agent.post("/api/public/getiotconnectiondata", None, raw=b"not JSON")[0] == 400
        assert len(platform.complaints()) == 5


def body_of_a_megabyte_is_too_large_for_a_bootstrap(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)
        try:
            status, _ = agent.post("/api/public/getiotconnectiondata", None, raw=b" " * (1 << 20))
        except OSError:  # it may also hang up on us
            return
        assert status == 413, status


def certificate_for_another_template_is_not_registered(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)
        platform.run("create-ca", "--name=Other")
        error = platform.run("import-certificate", "--ca=Other", agent.path("ca.pem"), fails=True)
        assert "subject" in error, error
        template = platform.run("create-ca", "--name=Third")
        error = platform.run("import-certificate", "-", data=template, fails=True)
        assert "provisioning certificate itself" in error, error
        agent.provision(platform.run("create-ca", "--name=Long", "--days=10"), "Long", days=20)
        error = platform.run("import-certificate", agent.path("ca.pem"), fails=True)
        assert "ends later" in error, error


def everything_that_openssl_signs_is_accepted(folder):
    with connected(folder) as (platform, agent), serving(agent) as dropped:
        pem = platform.run("sign-csr", "--ca=Home", "--new-key=p256", "--days=90", "--key-usage=digitalSignature",
                           "--eku=serverAuth", "--dns=srv.example.test", "--ip=192.0.2.1", "--name=srv")
        assert "CN = srv" in openssl("x509", "-noout", "-subject", data=pem.encode()).decode()
        serial = openssl("x509", "-noout", "-serial", data=pem.encode()).decode().strip().split("=")[1]
        crl = platform.run("make-crl", "--ca=Home", f"--revoke={serial},keyCompromise", "--days=7")
        text = openssl("crl", "-noout", "-text", data=crl.encode()).decode()
        assert serial in text and "Key Compromise" in text, text
        assert platform.run("make-crl", "--ca=Home", "--days=7")
        for form in ("PEM", "SMIME", "DER"):
            platform.run("make-cms", "--ca=Home", "--data=hello", f"--outform={form}", "--no-smimecap")
        platform.run("make-cms", "--ca=Home", "--data=hello", "--encoding=binary", "--contenttype=1.3.6.1.5.5.7.12.3")
        figures = json.loads(platform.run("drive", "--ca=Home", "--requests=10", "--concurrency=4", "--kind=mixed",
                                          "--reuse-offer", "--json"))
        assert figures["ok"] == 10 and figures["failed"] == 0 and figures["judged"] == 10, figures
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"], figures
        assert platform.complaints() == [] and dropped.reasons == [], (platform.complaints(), dropped.reasons)


def ec_authority_ec_signer_and_intermediate_work(folder):
    with connected(folder, "--signer=p256", "--intermediate", key_type="EC:P-256") as (platform, agent), \
            serving(agent):
        platform.run("sign-csr", "--ca=Home", "--name=srv")
        platform.run("make-cms", "--ca=Home", "--data=hello")
        assert platform.complaints() == []


def tls_link_works_under_its_own_ca(folder):
    with connected(folder, "--tls") as (platform, agent), serving(agent):
        assert platform.url.startswith("https://")
        platform.run("make-crl", "--ca=Home")
        assert platform.complaints() == []


def wrong_results_are_noticed(folder):
    with connected(folder) as (platform, agent), serving(agent):
        def attempt(verb, *arguments, spoil):
            agent.spoil = spoil
            return platform.run(verb, "--ca=Home", *arguments, fails=True)

        def altered(**changes):
            def spoil(_, request):
                request["options"].update(changes)
                return request
            return spoil

        assert "subject" in attempt("sign-csr", "--name=a", spoil=altered(subject={"commonName": "b"}))
        assert "days" in attempt("sign-csr", "--days=3", spoil=altered(days=4))
        usage = {"keyUsage": {"critical": False, "usages": ["digitalSignature"]}}
        assert "Key Usage" in attempt("sign-csr", "--key-usage=digitalSignature", spoil=altered(extensions=usage))
        more = {"basicConstraints": {"critical": True, "CA": True}}
        assert "nobody asked for" in attempt("sign-csr", "--name=a", spoil=altered(extensions=more))
        assert "other bytes" in attempt("make-cms", "--data=a", spoil=altered(data="b"))
        assert "sMIMECapabilities" in attempt("make-cms", "--data=a", spoil=altered(smimecap=False))

        def other_key(_, request):
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", agent.path("o.key"))
            request["csr"] = openssl("req", "-new", "-key", agent.path("o.key"), "-config", agent.path("empty.conf"),
                                     "-subj", "/CN=a").decode()
            return request

        assert "another key" in attempt("sign-csr", "--name=a", spoil=other_key)

        def no_entries(_, request):
            return request | {"database": ""}

        assert "lacks a revoked" in attempt("make-crl", "--revoke=0a0b", spoil=no_entries)
        agent.spoil = lambda _, request: request | {"days": 9}
        assert "number of days" in attempt("make-crl", "--days=8", spoil=agent.spoil)

        def refuse(_, request):
            raise Failed("not today")

        assert "refused: not today" in attempt("sign-csr", "--name=a", spoil=refuse)


def answer_to_the_same_siguuid_that_differs_is_a_conflict(folder):
    with connected(folder) as (platform, agent), serving(agent):
        platform.run("misbehave", "duplicate", "--at=request")
        platform.run("sign-csr", "--ca=Home")
        platform.run("wait", "--counter=duplicates")
        assert platform.counter("conflicts") == 0

        class Forgetful(dict):
            def __contains__(self, _):
                return False

        agent.answers = Forgetful()
        platform.run("misbehave", "duplicate", "--at=request")
        platform.run("sign-csr", "--ca=Home")
        platform.run("wait", "--counter=conflicts")


def dropped_messages_are_asked_for_again_with_the_same_siguuid(folder):
    with connected(folder) as (platform, agent), serving(agent):
        platform.run("misbehave", "drop", "--at=solicit")
        platform.run("misbehave", "drop", "--at=request")
        platform.run("sign-csr", "--ca=Home", "--attempts=3", "--timeout=1")
        platform.run("misbehave", "drop")
        assert "no offer" in platform.run("sign-csr", "--ca=Home", "--timeout=1", fails=True)


def late_and_overtaken_messages_arrive(folder):
    with connected(folder) as (platform, agent), serving(agent):
        platform.run("misbehave", "delay=300", "reorder")
        figures = json.loads(platform.run("drive", "--ca=Home", "--requests=3", "--concurrency=3", "--json"))
        assert figures["ok"] == 3, figures


def each_flaw_is_one_for_openssl_too(folder):
    """What the daemon must refuse is refused by the openssl command as well, so the flaw is real."""
    unreadable = ["wrong-signer", "rogue-signer", "expired-signer", "tls-signer", "no-signer", "altered", "truncated",
                  "not-smime", "not-encrypted", "wrong-recipient", "gcm", "truncated-inner", "bad-padding", "bad-zlib",
                  "raw-deflate", "gzip", "empty", "deep-json", "not-json", "bad-utf8", "two-signers"]
    with connected(folder) as (platform, agent), serving(agent) as dropped:
        request = agent.write("raw.json", "{}")
        for fault in unreadable:
            platform.run("misbehave", fault)
            with subprocess.Popen([PROGRAM, "send-raw", f"--directory={platform.folder}", f"--json={request}"],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as sender:
                assert dropped.wait(20), f"{fault} was read"
                sender.kill()
        platform.run("misbehave", "--clear")
        platform.run("make-cms", "--ca=Home", "--data=still alive")


def flaws_that_openssl_tolerates_are_what_they_say(folder):
    with connected(folder) as (platform, agent):
        def next_request(fault, at="request"):
            platform.run("misbehave", fault, f"--at={at}")
            sender = subprocess.Popen([PROGRAM, "send-raw", f"--directory={platform.folder}",
                                       f"--json={agent.write('raw.json', '{}')}"], stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            while True:
                frame = agent.link.receive()
                if frame["op"] == "message" and frame["message"]["type"] != "solicit signature":
                    sender.kill()
                    sender.wait()
                    return frame["message"]
                if frame["op"] == "message":
                    agent.offer(frame, json.loads(agent.verify(frame["message"]["smime"])))

        def printed(envelope):
            return openssl("cms", "-cmsout", "-print", "-noout", "-inform", "SMIME",
                           data=envelope["smime"].encode()).decode()

        assert "algorithm: sha1 (" in printed(next_request("sha1"))
        assert "signingTime" not in printed(next_request("no-attributes"))
        assert "multipart/signed" in next_request("detached")["smime"]
        assert "Nov 21 00:00:00 2025" not in printed(next_request("old-signing-time"))
        assert next_request("wrong-caindex=7")["caindex"] == 7
        assert next_request("other-uuid")["uuid"] != agent.uuid
        assert next_request("other-signtype")["signtype"] == "poem"
        assert "smime" not in next_request("no-smime")
        assert next_request("smime-number")["smime"] == 42
        differing = next_request("siguuid-differs")
        inner = json.loads(zlib.decompress(agent.open(differing["smime"])))
        assert inner["siguuid"] != differing["siguuid"]
        bomb = zlib.decompressobj()
        content = agent.open(next_request("zip-bomb")["smime"])
        assert len(content) < 2 << 20 and len(bomb.decompress(content, 200 << 20)) == 200 << 20


def missed_messages_are_caught_up_with_their_age(folder):
    with connected(folder) as (platform, agent):
        with serving(agent):
            platform.run("sign-csr", "--ca=Home")
        seen = agent.last_id
        platform.run("wait", "--ca=Home", "--agents=0")
        sender = subprocess.Popen([PROGRAM, "sign-csr", f"--directory={platform.folder}", "--ca=Home"],
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        published = platform.counter("messages published")
        platform.run("wait", "--counter=messages published", f"--value={max(published, 3)}")
        welcome = agent.connect(since=seen)
        assert welcome["channels"][0]["ok"] and "missed" not in welcome["channels"][0], welcome
        with serving(agent):
            assert sender.wait(20) == 0
        platform.run("wait", "--ca=Home", "--agents=0")
        welcome = agent.connect(since="00000000-000000000001")
        assert welcome["channels"][0]["missed"] is True, welcome
        frame = agent.link.receive()
        assert frame["op"] == "message" and frame["age"] >= 0 and frame["publisher"].startswith("stand-in-"), frame


def newer_connection_with_the_same_uuid_closes_the_older(folder):
    with connected(folder) as (_, agent):
        older = agent.link
        agent.connect()
        assert older.receive() is None and older.close_code == 4001


def wrong_tokens_and_channels_are_not_opened(folder):
    with connected(folder) as (_, agent):
        channel = agent.connection["channel_id"]
        token = agent.connection["websocket"]["token"]
        link = Socket(agent.connection["websocket"]["url"])
        link.send({"op": "hello", "uuid": "u", "agent": "iothsm/test", "channels": [
            {"id": channel, "token": token[:-4] + "AAAA"}, {"id": "unknown", "token": token}]})
        assert [c["reason"] for c in link.receive()["channels"]] == ["bad-token", "unknown-channel"]
        link.send({"op": "publish", "channel": channel, "seq": 1, "message": {}})
        error = link.receive()
        assert (error["op"], error["seq"], error["code"]) == ("error", 1, "unknown-channel"), error
        link.send({"op": "subscribe", "channels": [{"id": channel, "token": token}]})
        assert link.receive()["channels"] == [{"id": channel, "ok": True}]


def senseless_frames_close_the_connection_at_the_tenth(folder):
    with connected(folder) as (_, agent):
        for _ in range(10):
            agent.link.send("[]")
            assert agent.link.receive()["code"] == "bad-frame"
        assert agent.link.receive() is None and agent.link.close_code == 1008
        agent.connect()
        agent.link.send_frame(2, b"binary")
        assert agent.link.receive() is None and agent.link.close_code == 1003
        try:
            other = Socket(agent.connection["websocket"]["url"], protocol="chat.v1")
        except Failed as refused:
            assert "400" in str(refused)
        else:
            assert other.receive() is None and other.close_code == 1002


def platform_misbehaves_over_http_and_link_when_asked(folder):
    with connected(folder) as (platform, agent):
        path = "/api/public/getiotconnectiondata"
        for fault, expected in (("bootstrap-status=429", 429), ("bootstrap-null", 200), ("bootstrap-not-json", 200)):
            platform.run("misbehave", fault)
            status, body = agent.post(path, agent.bootstrap_body())
            assert status == expected, (fault, status)
            assert fault != "bootstrap-null" or body == b"null"
        platform.run("misbehave", "bootstrap-refuse=No account")
        assert json.loads(agent.post(path, agent.bootstrap_body())[1]) == {"success": False, "message": "No account"}
        for flaw in ("rogue-signer", "not-encrypted", "wrong-recipient", "expired-signer"):
            platform.run("misbehave", flaw, "--at=bootstrap")
            try:
                agent.bootstrap()
            except Failed:
                continue
            raise AssertionError(f"openssl accepted {flaw}")
        platform.run("misbehave", "bootstrap-bad-token")
        agent.bootstrap()
        assert agent.connect()["channels"][0]["reason"] == "bad-token"
        platform.run("misbehave", "handshake-status=503")
        try:
            agent.connect()
        except Failed as refused:
            assert "503" in str(refused)
        platform.run("misbehave", "--close-now=1013")


def caller_that_hangs_up_does_no_harm(folder):
    with Platform(folder + "/platform") as platform:
        agent = provisioned(platform, folder)
        body = json.dumps(agent.bootstrap_body()).encode()
        platform.run("misbehave", "bootstrap-slow=300")
        host, port = platform.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as caller:
            caller.sendall(b"POST /api/public/getiotconnectiondata HTTP/1.1\r\nHost: x\r\nContent-Type: "
                           b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            platform.run("wait", "--counter=bootstraps")
        platform.run("misbehave", "bootstrap-slow=600")
        assert agent.bootstrap()["channel_id"]


def several_clients_are_served_at_once(folder):
    with connected(folder) as (platform, agent), serving(agent):
        clients = [subprocess.Popen([PROGRAM, "make-cms", f"--directory={platform.folder}", f"--data={number}"],
                                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for number in range(6)]
        assert [client.wait(60) for client in clients] == [0] * 6
        abandoned = subprocess.Popen([PROGRAM, "drive", f"--directory={platform.folder}", "--requests=100000"],
                                     stdout=subprocess.DEVNULL)
        platform.run("wait", "--counter=exchanges done", "--value=8")
        abandoned.kill()
        abandoned.wait()
        platform.run("make-cms", "--data=still there")


def pubnub_get(platform, path, **query):
    """Status and answer; PubNub says everything in JSON."""
    text = urllib.parse.urlencode({"uuid": "curious", "pnsdk": "test/1"} | query)
    try:
        with urllib.request.urlopen(f"{platform.url}{path}?{text}", timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def pubnub_post(platform, path, payload):
    request = urllib.request.Request(f"{platform.url}{path}?uuid=curious&pnsdk=test/1", data=payload,
                                     headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def pubnub_bootstrap_names_key_sets_in_turn(folder):
    with Platform(folder + "/platform", "--transports=both", "--key-sets=2") as platform:
        agent = provisioned(platform, folder)
        data = agent.bootstrap()
        assert set(data) == {"publishKey", "subscribeKey", "channel_id", "websocket"}, data
        assert data["publishKey"].startswith("pub-c-") and data["subscribeKey"].startswith("sub-c-"), data


def pubnub_subscribe_gives_what_is_behind_its_cursor(folder):
    with Platform(folder + "/platform", "--transports=pubnub", "--poll=300") as platform:
        data = provisioned(platform, folder).bootstrap()
        assert "websocket" not in data
        keys = f"{data['publishKey']}/{data['subscribeKey']}"
        poll = f"/v2/subscribe/{data['subscribeKey']}/c1,c2/0"
        status, first = pubnub_get(platform, poll, tt="0")
        assert status == 200 and first["m"] == [] and first["t"]["t"].isdigit() and first["t"]["r"] == 12, first
        for channel, number in (("c1", 1), ("c2", 2), ("c3", 3)):
            status, sent = pubnub_post(platform, f"/publish/{keys}/0/{channel}/0", b'{"number":%d}' % number)
            assert status == 200 and sent[:2] == [1, "Sent"] and sent[2].isdigit(), sent
        _, second = pubnub_get(platform, poll, tt=first["t"]["t"], tr="12")
        assert [(m["c"], m["d"]["number"], m["i"]) for m in second["m"]] == [("c1", 1, "curious"), ("c2", 2, "curious")]
        assert int(second["m"][0]["p"]["t"]) < int(second["m"][1]["p"]["t"]) <= int(second["t"]["t"])
        assert pubnub_get(platform, poll, tt=first["t"]["t"], tr="12")[1]["m"] == second["m"]
        assert pubnub_get(platform, poll, tt=second["t"]["t"], tr="12")[1]["m"] == []  # after --poll
        status, time = pubnub_get(platform, "/time/0")
        assert status == 200 and abs(time[0] - int(second["t"]["t"])) < 20 * 10**7
        _, left = pubnub_get(platform, f"/v2/presence/sub-key/{data['subscribeKey']}/channel/c1,c2/leave")
        assert left["action"] == "leave"


def pubnub_refuses_as_pubnub_does(folder):
    with Platform(folder + "/platform", "--transports=pubnub") as platform:
        data = provisioned(platform, folder).bootstrap()
        publish = f"/publish/{data['publishKey']}/{data['subscribeKey']}/0/c1/0"
        status, refusal = pubnub_get(platform, "/v2/subscribe/unknown/c1/0", tt="0")
        assert status == 400 and refusal["error"] is True, refusal
        status, refusal = pubnub_post(platform, publish.replace("pub-c", "bub-c"), b"{}")
        assert status == 400 and refusal[:2] == [0, "Invalid Key"], refusal
        assert pubnub_post(platform, publish, b'"%s"' % (b"x" * 32766))[0] == 200
        status, refusal = pubnub_post(platform, publish, b'"%s"' % (b"x" * 32767))
        assert status == 400 and refusal[:2] == [0, "Message Too Large"], refusal
        assert pubnub_get(platform, publish + "/" + urllib.parse.quote('{"a":1}'))[1][1] == "Sent"
        platform.run("misbehave", "poll-status=403")
        assert pubnub_get(platform, f"/v2/subscribe/{data['subscribeKey']}/c1/0", tt="0")[0] == 403


def seed_repeats_a_run(folder):
    with Platform(folder + "/platform") as platform:
        first = json.loads(platform.run("misbehave", "drop", "--probability=0.5", "--seed=42"))
        assert first["seed"] == 42 and first["faults"][0]["probability"] == 0.5
        assert "no fault" in platform.run("misbehave", "explode", fails=True)
        assert "can't strike" in platform.run("misbehave", "bad-zlib", "--at=solicit", fails=True)


def restart_keeps_authorities_tokens_and_port(folder):
    with connected(folder) as (platform, agent):
        platform.stop()
        assert agent.link.receive()["code"] == "shutting-down" and agent.link.receive() is None
        port = platform.url.rsplit(":", 1)[1]
        with Platform(platform.folder, f"--port={port}") as again:
            assert again.url == platform.url
            assert agent.connect()["channels"][0]["ok"]
            with serving(agent):
                again.run("sign-csr", "--ca=Home")


def two_platforms_cannot_share_a_folder(folder):
    with Platform(folder + "/platform") as platform:
        second = subprocess.run([PROGRAM, "serve", f"--directory={platform.folder}"], stderr=subprocess.PIPE, text=True,
                                stdout=subprocess.DEVNULL, check=False)
        assert second.returncode == 1 and "another platform runs" in second.stderr


def main():
    tests = [(name, test) for name, test in globals().items()
             if callable(test) and getattr(test, "__module__", "") == "__main__" and
             getattr(test, "__code__", None) and test.__code__.co_varnames[:1] == ("folder",) and
             name != "connected"]
    chosen = sys.argv[2:]
    tests = [(name, test) for name, test in tests if not chosen or name in chosen]
    print(f"1..{len(tests)}", flush=True)
    with Platform(SEED.name, "--tls"):
        pass
    failures = 0
    for number, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory(prefix="iothsm-platform-") as folder:
            try:
                test(folder)
                verdict = "ok"
            except Exception:  # pylint: disable=broad-except
                print("".join("# " + line + "\n" for line in traceback.format_exc().splitlines()), end="")
                verdict = "not ok"
                failures += 1
        print(f"{verdict} {number} {name.replace('_', ' ')}", flush=True)
    return failures > 0


sys.exit(main())
