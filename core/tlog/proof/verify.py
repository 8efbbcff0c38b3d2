"""Checks that an event is in a log: hashlib for the tree (RFC 6962), cryptography for the signature (Ed25519).

python3 verify.py event.record event.tlog-proof KEY
"""
import base64
import hashlib
import sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf, index, size, path):
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        raise ValueError("the index lies outside the log")
    here, last, root = index, size - 1, leaf
    for beside in path:
        if last == 0:
            raise ValueError("the proof is too long")
        if here & 1 or here == last:
            root = node(beside, root)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            root = node(root, beside)
        here, last = here >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    return root


def opened(note, key):
    """The text of a signed note, once its signature by the key is seen to be good."""
    name, key_id, public = key.strip().split("+", 2)
    public = base64.b64decode(public)
    text, signatures = note.rsplit("\n\n", 1)
    text += "\n"
    wanted = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if public[0] != 1 or wanted.hex() != key_id:
        raise ValueError("this is not an Ed25519 key of a note")
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and signer == name and signature[:4] == wanted:
            Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature[4:], text.encode())
            return name, text
    raise ValueError("the key has not signed the checkpoint")


def main():
    event = open(sys.argv[1], "rb").read()
    proof = open(sys.argv[2], encoding="utf-8", newline="").read()
    head, note = proof.split("\n\n", 1)
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise ValueError("this is not a tlog-proof@v1")
    if lines[0].startswith("extra "):
        lines.pop(0)
    index = int(lines.pop(0).removeprefix("index "))
    name, text = opened(note, sys.argv[3])
    origin, size, root = text.split("\n")[:3]
    if origin != name:
        raise ValueError("the checkpoint is of another log")
    leaf = hashlib.sha256(b"\x00" + event).digest()
    if root_of(leaf, index, int(size), [base64.b64decode(line) for line in lines]) != base64.b64decode(root):
        raise ValueError("the event is not the one that the log has there")
    print(f"entry {index} is in the log {origin} of {size} entries")


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        sys.exit(f"the proof does not hold: {error or type(error).__name__}")
