#!/usr/bin/env python3
"""Proves a bundle of events, as docs/PROOF.md describes it, without fleetlog and without the database.

    verify.py BUNDLE [--key VKEY]... [--checkpoint FILE]... [--from POSITION] [--to POSITION]

BUNDLE is the folder that `fleetlog audit bundle` wrote. VKEY is a verifier key that you have kept: the installation's, a log's,
or that of a witness who must have signed. FILE has checkpoints that you have kept and gave to `--kept`, of one log or several.

It proves for each log that its checkpoint is signed with the key, that the events are those under the checkpoint, byte for byte
and at their positions, that none between the first and the last is absent, and that the kept checkpoints are of this history.
It does not prove that an event was true when it was recorded, that others are shown the same history, or anything of a log that
is not there, or of other events than its own unless you say which with --from and --to. Without --key it agrees with itself only.
The exit code is 0 if everything is proved, 1 if there is a finding (a line on stdout), 2 if it cannot tell (a line on stderr).
"""
import argparse, base64, collections, datetime, functools, json, os, re, sys
from hashlib import sha256

SHOWN, NEAR = 20, 256  # findings of a log that are printed; tiles on either side in which an event's real position is looked for
EPOCH, MICROSECOND = datetime.datetime(2000, 1, 1), datetime.timedelta(microseconds=1)
CONTROL = ("log_id position aggregate_type aggregate_id sequence event_type event_version payload metadata "
           "occurred_at recorded_at").split()
TELEMETRY = "log_id position occurred_at recorded_at flags aggregate_id msg_id payload".split()
KINDS = {"log_id": 4, "position": 8, "sequence": 8, "flags": 2, "occurred_at": "time", "recorded_at": "time"}  # others: text
NAME, BASE64 = r"[^\s+\x00-\x1f\x7f-\x9f]+", r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
KEY = re.compile(rf"({NAME})\+([0-9a-f]{{8}})\+([A-Za-z0-9+/]{{44}})\s*")  # algorithm 1: a log or an installation, 4: a witness
CHECKPOINT = re.compile(rf"(({NAME}/(0|[1-9][0-9]{{0,9}}))\n(0|[1-9][0-9]{{0,18}})\n([A-Za-z0-9+/]{{43}}=)\n)\n"
                        rf"((?:\u2014 {NAME} {BASE64}\n)*)\n*")
Checkpoint = collections.namedtuple("Checkpoint", "text origin log_id size root signatures")

def open_file(path):
    if not os.path.isfile(path):
        raise ValueError(f"{path} is missing or not a file")
    return open(path, "rb")

def name_and_id(name, algorithm, public):
    return name + "+" + sha256(name.encode() + b"\n" + bytes([algorithm]) + public).hexdigest()[:8]

def parse_key(text):
    found = KEY.fullmatch(text)
    blob = base64.b64decode(found[3]) if found else b"\x00"
    if blob[0] not in (1, 4) or name_and_id(found[1], blob[0], blob[1:]) != f"{found[1]}+{found[2]}":
        raise ValueError(f"not a verifier key: {text[:200]!r}")
    return found[1], blob[0], blob[1:]

def parse_checkpoints(path, most):
    text = re.sub(r"(?m)^#.*\n|\r", "", open_file(path).read(1 << 25).decode(errors="replace"))  # without remarks
    notes = list(CHECKPOINT.finditer(text)) if re.fullmatch(f"({CHECKPOINT.pattern})+", text) else []
    if not 1 <= len(notes) <= most:
        raise ValueError(f"{path} is not a checkpoint")
    for body, origin, log_id, size, root, lines in (note.groups() for note in notes):
        signatures = [(line.split(" ")[1], base64.b64decode(line.split(" ")[2])) for line in lines.splitlines()]
        yield Checkpoint(body.encode(), origin, int(log_id), int(size), base64.b64decode(root), signatures)

def is_right(signature, algorithm, public, message):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    if algorithm == 4:
        signature, message = signature[8:], b"cosignature/v1\ntime %d\n" % int.from_bytes(signature[:8], "big") + message
    try:
        return Ed25519PublicKey.from_public_bytes(public).verify(signature, message) is None
    except (InvalidSignature, ValueError):
        return False

def not_signed_by(checkpoint, keys, witnesses_too):
    """The name and id of a key whose signature is wrong or absent, or None. Of several keys of the log one must have signed."""
    signed, names = False, []
    for name, algorithm, public in keys:
        of_log = algorithm == 1 and checkpoint.origin in (name, f"{name}/{checkpoint.log_id}")
        name = name_and_id(checkpoint.origin if of_log else name, algorithm, public)
        found = [blob[4:] for signer, blob in checkpoint.signatures if f"{signer}+{blob[:4].hex()}" == name]
        right = [is_right(signature, algorithm, public, checkpoint.text) for signature in found]
        if not all(right) or (algorithm == 4 and witnesses_too and not found):
            return name
        signed = signed or (of_log and bool(found))
        names += [name] if algorithm == 1 else []
    return None if signed else " or ".join(names) or "a key of the log"

def root_of(subtrees):  # the root over the roots of neighbouring subtrees of one size, of which the last may be smaller
    if len(subtrees) == 1:
        return subtrees[0]
    half = 1 << (len(subtrees) - 1).bit_length() - 1  # the largest power of two below
    return sha256(b"\x01" + root_of(subtrees[:half]) + root_of(subtrees[half:])).digest()

def partial_tiles(size):  # level and index of those of a tree of `size` leaves, the lowest level first
    return [(level, size >> 8 * level + 8) for level in range(8) if (size >> 8 * level) % 256]

# An integer of 64 bits has at most 20 characters, and int() of very many is slow. An object with a member twice is no event.
DECODER = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) <= 20 else None,
                           object_pairs_hook=lambda pairs: dict(pairs) if len(dict(pairs)) == len(pairs) else None)

def value(column, kind):  # the kind is text, time or the number of bytes of an integer
    if kind == "time":
        time, kind = datetime.datetime.fromisoformat(column[:-1]), 8
        column = (time - EPOCH) // MICROSECOND if time.isoformat(timespec="microseconds") + "Z" == column else None
    if type(column) is not (str if kind == "text" else int):
        raise TypeError
    return column.encode() if kind == "text" else column.to_bytes(kind, "big", signed=True)

def record_of(event):  # None if it has not just the columns of its lane, each with a value that it can have
    columns = TELEMETRY if "flags" in event else CONTROL
    try:
        values = [value(event[name], KINDS.get(name, "text")) for name in columns]
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    record = len(values).to_bytes(2, "big") + b"".join(len(data).to_bytes(4, "big") + data for data in values)
    return record if len(event) == len(columns) else None

class Log:
    def __init__(self, folder):
        self.folder, self.checkpoint, self.findings, self.bad = folder, None, 0, set()  # bad: full tiles that do not fit

    def find(self, text):
        self.findings += 1
        if self.findings <= SHOWN:
            print(f"log {self.checkpoint.log_id}: {text}")

    def name(self, level, index):
        width, digits = (self.checkpoint.size >> 8 * level) - 256 * index, "0" * (-len(str(index)) % 3) + str(index)
        return f"tile/{level}/" + re.sub("...(?=.)", r"x\g<0>/", digits) + (f".p/{width}" if width < 256 else "")

    @functools.lru_cache(maxsize=64)
    def tile(self, level, index):  # the hashes of a file of a wrong length are empty, and so equal none
        data = open_file(f"{self.folder}/{self.name(level, index)}").read(32 * 256 + 1)
        width = min(256, (self.checkpoint.size >> 8 * level) - 256 * index)
        return [data[32 * i:32 * i + 32] if len(data) == 32 * width else b"" for i in range(width)]

    def has_leaves(self, index):  # a tile of level 0 without an event of the bundle need not be here
        return (0, index) not in self.bad and os.path.isfile(f"{self.folder}/{self.name(0, index)}")

    def root_of_first(self, leaves):  # from the partial tiles of that tree, each the beginning of a tile that is here
        right = []
        for level, index in partial_tiles(leaves):
            right = [root_of(self.tile(level, index)[:(leaves >> 8 * level) % 256] + right)]
        return right[0] if right else sha256().digest()

    def check_tiles(self):  # whether the root is right, so that there is something to compare events with
        size, say = self.checkpoint.size, "the tiles do not hash to the checkpoint: "
        if self.root_of_first(size) != self.checkpoint.root:
            wrong = [tile for tile in partial_tiles(size) if b"" in self.tile(*tile)] or partial_tiles(size)
            self.find(say + (", ".join(self.name(*tile) for tile in wrong) or "there is none"))
            return False
        for level, index in ((level, index) for level in range(7, -1, -1) for index in range(size >> 8 * level + 8)):
            parent = (level + 1, index // 256)
            if parent in self.bad:
                self.bad.add((level, index))
            elif level > 0 or self.has_leaves(index):
                if root_of(self.tile(level, index)) != self.tile(*parent)[index % 256]:
                    self.find(say + self.name(level, index))
                    self.bad.add((level, index))
        return True

    def check_kept(self, kept, keys, tiles_fit):
        unsigned, size = not_signed_by(kept, keys, False), self.checkpoint.size
        root = self.checkpoint.root if kept.size == size else kept.root
        if kept.size < size and tiles_fit and self.bad.isdisjoint(partial_tiles(kept.size)):
            root = self.root_of_first(kept.size)
        if unsigned:
            self.find(f"the kept checkpoint of {kept.size} events is not signed by {unsigned}")
        elif kept.size > size:
            self.find(f"a rollback: the kept checkpoint has {kept.size} events, this one {size}")
        elif kept.root != root:
            self.find(f"a fork: the first {kept.size} events have another root than the kept checkpoint")

    def real_position(self, record, here):  # where the record would be right; its bytes 14 to 22 are the position
        near = sorted(range(max(0, here - NEAR), here + NEAR), key=lambda index: abs(index - here))
        leaves = ((256 * index + i, leaf) for index in near if self.has_leaves(index)
                  for i, leaf in enumerate(self.tile(0, index), 1))
        head, tail = b"\x00" + record[:14], record[22:]
        return next((at for at, leaf in leaves if sha256(head + at.to_bytes(8, "big") + tail).digest() == leaf), None)

    def check_event(self, event, position):
        index, i = divmod(position - 1, 256)
        if (0, index) in self.bad:
            return  # nothing can be said of it
        record, leaf = record_of(event), self.tile(0, index)[i]
        if record is None or event["log_id"] != self.checkpoint.log_id or sha256(b"\x00" + record).digest() != leaf:
            other = self.real_position(record, index) if record and self.findings < SHOWN else None
            what = f"holds the event of position {other}" if other not in (None, position) else "differs"
            self.find(f"position {position} {what}")

    def check_events(self, wanted_from, wanted_to):
        events, first, last, size = 0, wanted_from, max(wanted_from - 1, 0), self.checkpoint.size
        lines = open_file(f"{self.folder}/events.ndjson")
        for number, line in enumerate(iter(lambda: lines.readline(1 << 28), b""), 1):  # a line of more than 256 MiB is no event
            try:
                event = DECODER.decode(line.decode())
                position = event["position"]
                value(position, 8)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                raise ValueError(f"{lines.name}: line {number} is not an event") from None
            if not last < position <= size:
                self.find(f"position {position} is extra")
                continue
            for absent in range(last + 1 if first else position, position):
                self.find(f"position {absent} is missing")
            events, first, last = events + 1, first or position, position
            self.check_event(event, position)
        for absent in range(last + 1, wanted_to + 1):
            self.find(f"position {absent} is missing")
        if not self.findings:
            proved = f"{events} events, {first} to {last}, are as recorded"
            print(f"log {self.checkpoint.log_id}: {proved} (checkpoint of {size} events)")

    def check(self, keys, all_kept, wanted_from, wanted_to):
        self.checkpoint, = parse_checkpoints(f"{self.folder}/checkpoint", 1)
        if all(algorithm != 1 for _, algorithm, _ in keys):
            keys = keys + [parse_key(open_file(f"{self.folder}/key").read(1000).decode())]
        unsigned = not_signed_by(self.checkpoint, keys, True)
        if unsigned:
            return self.find(f"the checkpoint is not signed by {unsigned}")
        if os.path.basename(self.folder) != f"log-{self.checkpoint.log_id}":
            self.find(f"its folder is {os.path.basename(self.folder)}")
        tiles_fit = self.check_tiles()
        for kept in (kept for kept in all_kept if kept.origin == self.checkpoint.origin):
            self.check_kept(kept, keys, tiles_fit)
        if tiles_fit:
            self.check_events(wanted_from, wanted_to)

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("BUNDLE")
    for name, metavar in (("--key", "VKEY"), ("--checkpoint", "FILE")):
        parser.add_argument(name, metavar=metavar, action="append", default=[])
    for name in ("--from", "--to"): parser.add_argument(name, metavar="POSITION", type=int, default=0)
    options = parser.parse_args()
    keys = [parse_key(text) for text in options.key]
    all_kept = [kept for path in options.checkpoint for kept in parse_checkpoints(path, 100000)]
    names = sorted((name for name in os.listdir(options.BUNDLE) if re.fullmatch("log-[0-9]+", name)), key=lambda n: (len(n), n))
    if all(algorithm != 1 for _, algorithm, _ in keys):
        print("no key of a log is given: with the bundle's own keys, this proves only that the bundle agrees with itself")
    findings, origins, unknown = 0, set(), [] if names else [f"{options.BUNDLE} has no folder of a log"]
    for log in (Log(f"{options.BUNDLE}/{name}") for name in names):
        try:
            log.check(keys, all_kept, vars(options)["from"], options.to)
        except (ValueError, OSError, MemoryError) as error:
            unknown.append(error)
        if log.findings > SHOWN:
            print(f"log {log.checkpoint.log_id}: and {log.findings - SHOWN} more")
        findings += log.findings
        origins.add(log.checkpoint and log.checkpoint.origin)
    unknown += [f"the bundle has no log {origin}, of which a checkpoint was kept" for origin in {k.origin for k in all_kept} - origins]
    sys.stderr.write("".join(f"verify.py: {error}\n" for error in unknown))
    return 1 if findings else 2 if unknown else 0

if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(main())
    except (ValueError, OSError, ImportError) as error:
        sys.exit(print(f"verify.py: {error}", file=sys.stderr) or 2)
