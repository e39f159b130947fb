"""Verifies a log of Sealgate with pymerkle alone (a third party's RFC 9162 tree): the root of all entries, inclusion of
each entry, consistency with every earlier size. The checkpoint's signature is Go's to check (verify.go).

    verify.py LOG-FOLDER
"""

import base64
import sys
from pathlib import Path

from pymerkle import InmemoryTree, verify_consistency, verify_inclusion

WIDTH = 256
# Sizes for which every proof is made; a larger log is sampled.
EVERY_PROOF = 300


def checkpoint(log):
    lines = (log / "checkpoint").read_text().split("\n")
    return int(lines[1]), base64.b64decode(lines[2], validate=True)


def index_path(index):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    return "/".join(groups)


def entries(log, size):
    for first in range(0, size, WIDTH):
        count = min(WIDTH, size - first)
        path = log / "tile" / "entries" / index_path(first // WIDTH)
        if count < WIDTH:
            path = path.with_name(path.name + ".p") / str(count)
        bundle = path.read_bytes()
        for _ in range(count):
            length = int.from_bytes(bundle[:2], "big")
            entry, bundle = bundle[2 : 2 + length], bundle[2 + length :]
            if len(entry) != length:
                sys.exit(f"pymerkle: the bundle of entry {first} is cut off")
            yield entry
        if bundle:
            sys.exit(f"pymerkle: the bundle of entry {first} holds more than its entries")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    log = Path(sys.argv[1])
    size, root = checkpoint(log)
    if size == 0:
        sys.exit("pymerkle: the log is empty: nothing would be verified")
    tree = InmemoryTree(algorithm="sha256")
    tree.append_entries(entries(log, size))
    if tree.get_root() != root:
        sys.exit("pymerkle: the entries lead to another root than the signed one")
    for index in range(1, size + 1, max(1, size // EVERY_PROOF)):
        verify_inclusion(tree.get_leaf(index), root, tree.prove_inclusion(index, size))
        verify_consistency(tree.get_root(index), root, tree.prove_consistency(index, size))
    print(f"pymerkle: {size} entries verify")


main()
