#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What users read says the same everywhere: help, man pages, completions, catalog, configuration. Speaks TAP."""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ["TOP_SOURCE_DIR"]
MAN = os.environ["MAN_PAGES"].split()
IOTHSMCTL = os.environ["IOTHSMCTL"]
IOTHSMD = os.environ.get("IOTHSMD")
COMPLETIONS = ["data/completions/iothsmctl.bash", "data/completions/_iothsmctl", "data/completions/iothsmctl.fish"]


TESTS = []


def holds(test):
    TESTS.append(test)
    return test


class Skip(Exception):
    pass


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


def run(*argv, environment=None):
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8",
                            env={**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}, check=False)
    return result.returncode, result.stdout, result.stderr


def need(program):
    path = shutil.which(program)
    if path is None:
        raise Skip(f"{program} is not installed")
    return path


def man_text(name):
    pages = [page for page in MAN if os.path.basename(page) == name]
    if not pages:
        raise Skip("man pages are not built")
    plain = {"MANWIDTH": "400", "MANPAGER": "cat", "PAGER": "cat"}
    status, text, _ = run(need("man"), "--no-hyphenation", "-l", pages[0], environment=plain)
    assert status == 0, f"man can't show {name}"
    return re.sub(r".\x08", "", text)


def verbs():
    """Each verb of --help, "pin set" as two words."""
    status, text, _ = run(IOTHSMCTL, "--help")
    assert status == 0
    section = text.split("Verbs\n", 1)[1].split("\n\n", 1)[0]
    names = [re.match(r"  ([a-z-]+(?: [a-z]+)?)(?: [A-Z[]|\s{2,}|$)", line).group(1) for line in section.splitlines()]
    assert "status" in names and "pin set" in names and len(names) > 20, names
    return names


def options(verb):
    """The long options of a verb, the common ones left out."""
    status, text, _ = run(IOTHSMCTL, *verb.split(), "--help")
    assert status == 0, f"'{verb} --help' fails"
    own = text.split("Application Options:", 1)
    return re.findall(r"^\s+(?:-\w, )?--([a-z-]+)", own[1], re.MULTILINE) if len(own) > 1 else []


def configuration_keys():
    keys = re.findall(r'^\s+\{"(\w+)", "(\w+)", "', read("daemon/config.c"), re.MULTILINE)
    assert len(keys) > 10, "the table of keys in daemon/config.c is not found"
    return keys


@holds
def man_pages_build_without_warnings():
    need("man")
    if not MAN:
        raise Skip("man pages are not built")
    for page in MAN:
        status, _, complaints = run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
        assert status == 0 and not complaints, f"{page}: {complaints}"


@holds
def every_verb_is_in_the_man_page():
    text = man_text("iothsmctl.1")
    for verb in verbs():
        assert re.search(rf"^\s+{verb}( |$)", text, re.MULTILINE), f"iothsmctl(1) lacks the verb {verb}"


@holds
def every_option_is_in_the_man_page():
    text = man_text("iothsmctl.1")
    for verb in verbs():
        for option in options(verb):
            assert f"--{option}" in text, f"iothsmctl(1) lacks --{option} of {verb}"


@holds
def every_verb_and_option_is_completed():
    for path in COMPLETIONS:
        text = read(path)
        for verb in verbs():
            for word in verb.split():
                assert re.search(rf"(?<![\w-]){word}(?![\w-])", text), f"{path} lacks {verb}"
            for option in options(verb):
                form = rf"(--|-l ){option}(?![\w-])"
                assert re.search(form, text), f"{path} lacks --{option} of {verb}"


@holds
def bash_completes_verbs_options_and_values():
    need("bash")
    script = read("data/completions/iothsmctl.bash") + """
        iothsmctl() { "$IOTHSMCTL" "$@"; }
        complete_line() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _iothsmctl; echo "${COMPREPLY[*]}"; }
        complete_line iothsmctl sta
        complete_line iothsmctl pin u
        complete_line iothsmctl generate x --type = p2
        complete_line iothsmctl softhsm delete --y
        complete_line iothsmctl --json = short pin set --mem
        complete_line iothsmctl show ""
        iothsmctl() { echo home:europe:ring; }
        complete_line iothsmctl kms remove home : eu
    """
    status, text, complaints = run("bash", "-uc", script, environment={
        "IOTHSMCTL": IOTHSMCTL, "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"})
    assert status == 0 and not complaints, complaints
    assert text.splitlines() == ["status", "unblock", "p256", "--yes", "--memory-only", "", "europe:ring"], text


@holds
def zsh_and_fish_read_their_completion():
    shells = [(shell, path) for shell, path in (("zsh", COMPLETIONS[1]), ("fish", COMPLETIONS[2])) if shutil.which(shell)]
    if not shells:
        raise Skip("neither zsh nor fish is installed")
    for shell, path in shells:
        status, _, complaints = run(shell, "-n", os.path.join(SOURCE, path))
        assert status == 0 and not complaints, complaints


@holds
def fish_completes_verbs_options_and_values():
    need("fish")
    with tempfile.TemporaryDirectory() as home:
        os.symlink(IOTHSMCTL, os.path.join(home, "iothsmctl"))
        environment = {"HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home,
                       "PATH": home + ":" + os.environ["PATH"],
                       "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/nonexistent/bus"}
        for line, expected in (("iothsmctl sta", "status"), ("iothsmctl pin u", "unblock"),
                               ("iothsmctl generate x --type=p2", "--type=p256"),
                               ("iothsmctl pin set --mem", "--memory-only"), ("iothsmctl softhsm delete --y", "--yes")):
            status, text, complaints = run("fish", "--no-config", "-c", f"source {SOURCE}/{COMPLETIONS[2]}; "
                                           f"complete -C '{line}'", environment=environment)
            assert status == 0 and not complaints, complaints
            assert [row.split("\t")[0] for row in text.splitlines()] == [expected], f"{line}: {text}"


@holds
def every_key_is_in_the_man_page_and_the_default_file():
    page = man_text("iothsmd.conf.5")
    default = read("data/iothsmd.conf")
    for group, key in configuration_keys():
        assert re.search(rf"^\s+{key}=$", page, re.MULTILINE), f"iothsmd.conf(5) lacks {key}="
        section = default.split(f"[{group}]\n", 1)
        assert len(section) == 2, f"data/iothsmd.conf lacks [{group}]"
        assert re.search(rf"^#{key}=", section[1].split("\n[", 1)[0], re.MULTILINE), f"data/iothsmd.conf lacks {key}"


@holds
def the_default_file_and_the_man_page_have_no_key_too_many():
    keys = {key for _, key in configuration_keys()}
    for key in re.findall(r"^#(\w+)=", read("data/iothsmd.conf"), re.MULTILINE):
        assert key in keys, f"data/iothsmd.conf has {key}, which the service does not know"
    for key in re.findall(r"^       (\w+)=$", man_text("iothsmd.conf.5"), re.MULTILINE):
        assert key in keys, f"iothsmd.conf(5) has {key}, which the service does not know"


@holds
def every_option_of_the_service_is_in_its_man_page():
    if not IOTHSMD:
        raise Skip("iothsmd is not built")
    status, text, _ = run(IOTHSMD, "--help")
    assert status == 0
    page = man_text("iothsmd.8")
    found = re.findall(r"^\s+(?:-\w, )?--([a-z-]+)", text, re.MULTILINE)
    assert len(found) >= 5, text
    for option in found:
        if not option.startswith("help-"):
            assert f"--{option}" in page, f"iothsmd(8) lacks --{option}"


def interface_members():
    """(interface, kind, name) of each method, property and signal in dbus/*.xml."""
    found = []
    folder = os.path.join(SOURCE, "dbus")
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".xml"):
            continue
        text = read(os.path.join("dbus", name))
        found += re.findall(r'<(method|property|signal)\s+name="(\w+)"', text)
    if not found:
        raise Skip("there is no interface XML")
    return found


@holds
def every_member_of_the_bus_is_in_its_man_page():
    page = man_text("org.pkiaas.IoTHSM.5")
    for kind, name in interface_members():
        assert re.search(rf"(?<!\w){name}(?!\w)", page), f"org.pkiaas.IoTHSM(5) lacks the {kind} {name}"


@holds
def every_member_of_the_description_is_in_the_man_page():
    page = man_text("org.pkiaas.IoTHSM.5")
    properties = {name[0].lower() + name[1:] for kind, name in interface_members() if kind == "property"}
    everything = read("daemon/describe.c").split("static void judge(")[0]
    described = set(re.findall(r'\w+\(object, "(\w+)"', everything))
    assert "otherName" in described and "pinRetries" in described
    missing = [member for member in sorted(described - properties) if not re.search(rf"\b{member}\b", page)]
    assert not missing, "not in org.pkiaas.IoTHSM(5): " + " ".join(missing)


@holds
def every_method_without_descriptors_has_an_example():
    page = man_text("org.pkiaas.IoTHSM.5")
    folder = os.path.join(SOURCE, "dbus")
    checked = 0
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".xml"):
            continue
        for method, body in re.findall(r'<method\s+name="(\w+)"\s*(?:/>|>(.*?)</method>)', read("dbus/" + name), re.DOTALL):
            if re.search(r'type="h"[^>]*direction="in"|direction="in"[^>]*type="h"', body):
                continue
            checked += 1
            assert re.search(rf"busctl(.|\n)*?IoTHSM1\.\w+ {method}(?!\w)", page), f"no busctl example for {method}"
    if checked == 0:
        raise Skip("there is no interface XML")


def message_ids():
    ids = re.findall(r'#define MESSAGE_(\w+) "([0-9a-f]{32})"', read("daemon/message-ids.h"))
    assert len(ids) > 10 and len({value for _, value in ids}) == len(ids), "two messages have one id"
    return ids


@holds
def every_message_has_a_catalog_text_and_the_other_way_round():
    catalog = re.findall(r"^-- ([0-9a-f]{32})$", read("data/iothsm.catalog"), re.MULTILINE)
    assert len(set(catalog)) == len(catalog), "the catalog explains a message twice"
    for name, value in message_ids():
        assert value in catalog, f"the catalog does not explain MESSAGE_{name}"
    for value in catalog:
        assert value in {known for _, known in message_ids()}, f"nothing has the catalog's id {value}"


@holds
def every_message_is_logged_somewhere():
    sources = "".join(read(os.path.relpath(path, SOURCE)) for folder in ("daemon", "dbus", "polkit")
                      for path in glob.glob(f"{SOURCE}/{folder}/**/*.c", recursive=True))
    sources += read("data/iothsm-seal.in")
    for name, _ in message_ids():
        assert re.search(rf"\bMESSAGE_{name}\b", sources), f"nothing logs MESSAGE_{name}"


@holds
def every_error_is_explained_to_administrators():
    names = re.findall(r'BUS_PREFIX "(\w+)"', read("daemon/error.c"))
    assert len(names) > 10
    rows = re.findall(r"^\| (\w+) \| [^|]{10,} \| [^|]{5,} \|$", read("docs/errors.md"), re.MULTILINE)
    assert len(set(rows)) == len(rows), "docs/errors.md explains an error twice"
    for name in names:
        assert name in rows, f"docs/errors.md does not explain {name}"
    for name in set(rows) - {"name"}:
        assert name in names, f"docs/errors.md explains {name}, which does not exist"


@holds
def commands_in_the_documentation_exist():
    known = {verb: set(options(verb)) for verb in verbs()}
    commands = 0
    for document in ("README.md", "docs/administration.md", "docs/errors.md"):
        text = read(document)
        blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", text)
        for line in lines:
            match = re.match(r"(?:sudo )?iothsmctl ((?:--\S+ )*)([^#|>]+)", line)
            if not match:
                continue
            words = match.group(2).split()
            if not words or words[0].startswith("-"):
                continue
            verb = next((v for v in (" ".join(words[:2]), words[0]) if v in known), None)
            assert verb, f"{document}: {line}: there is no such verb"
            for option in re.findall(r"--([a-z-]+)", match.group(2)):
                assert option in known[verb], f"{document}: {line}: {verb} has no --{option}"
            commands += 1
    assert commands > 30, commands


@holds
def journald_takes_the_catalog():
    need("journalctl")
    with tempfile.TemporaryDirectory() as root:
        os.makedirs(f"{root}/usr/lib/systemd/catalog")
        os.makedirs(f"{root}/var/lib/systemd/catalog")
        shutil.copy(os.path.join(SOURCE, "data/iothsm.catalog"), f"{root}/usr/lib/systemd/catalog/")
        status, _, complaints = run("journalctl", f"--root={root}", "--update-catalog")
        assert status == 0 and not complaints, complaints
        status, text, _ = run("journalctl", f"--root={root}", "--dump-catalog")
        assert status == 0
        for name, value in message_ids():
            entry = text.split(f"-- {value}\n", 1)
            assert len(entry) == 2, f"journald has no text for MESSAGE_{name}"
            for field in ("Subject: ", "Defined-By: IoT-HSM", "Documentation: man:"):
                assert field in entry[1].split("\n-- ", 1)[0], f"MESSAGE_{name} lacks {field}"


def main():
    failed = 0
    print(f"1..{len(TESTS)}")
    for number, test in enumerate(TESTS, 1):
        title = test.__name__.replace("_", " ")
        try:
            test()
        except Skip as reason:
            print(f"ok {number} {title} # SKIP {reason}")
        except AssertionError as failure:
            failed += 1
            print(f"not ok {number} {title}")
            print("\n".join("# " + line for line in str(failure).splitlines()))
        else:
            print(f"ok {number} {title}")
    return 1 if failed else 0


sys.exit(main())
