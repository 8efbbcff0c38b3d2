"""Checks facts about rights against the state root that verify.py has seen in the log. Nothing but hashlib.

python3 verify_facts.py event.record facts
"""
import base64
import hashlib
import sys


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root_of(fact, beside, end):
    """The root that a path leads to, and the place where the fact would be."""
    place = sha256(b"mcpctl fact v1\n", fact.encode())
    if end == "nothing":
        node = bytes(32)
    else:
        there, value = (base64.b64decode(part) for part in end.split(" "))
        if any((there[d // 8] ^ place[d // 8]) >> (7 - d % 8) & 1 for d in range(len(beside))):
            raise ValueError("a leaf stands where it does not belong")
        node = sha256(b"\x00", there, value)
    for depth in reversed(range(len(beside))):
        right = place[depth // 8] >> (7 - depth % 8) & 1
        node = sha256(b"\x01", beside[depth], node) if right else sha256(b"\x01", node, beside[depth])
    return place, node


def main():
    record = open(sys.argv[1], encoding="utf-8", newline="").read().split("\n")
    if record[0] != "mcpctl state root v1" or not record[4].startswith("root "):
        raise ValueError("this is not a state root")
    root = base64.b64decode(record[4][5:])
    head, *facts = open(sys.argv[2], encoding="utf-8", newline="").read().rstrip("\n").split("\n\n")
    if head != "mcpctl facts v1" or not facts:
        raise ValueError("this is not a file of facts")
    for block in facts:
        fact, value, *path, end = block.split("\n")
        fact, end = fact.removeprefix("fact "), end.removeprefix("end ")
        place, found = root_of(fact, [base64.b64decode(line.removeprefix("beside ")) for line in path], end)
        if found != root:
            raise ValueError(f"the path of {fact!r} does not lead to the root")
        here = end != "nothing" and base64.b64decode(end.split(" ")[0]) == place
        if value == "absent":
            if here:
                raise ValueError(f"{fact!r} holds")
            print(f"absent: {fact}")
        else:
            value = value.removeprefix("value ")
            if not here or base64.b64decode(end.split(" ")[1]) != sha256(value.encode()):
                raise ValueError(f"{fact!r} does not hold with that value")
            print(f"holds: {fact} = {value}")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"the proof does not hold: {error or type(error).__name__}")
