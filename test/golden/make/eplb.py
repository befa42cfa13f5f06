"""Makes test/golden/fixtures/eplb.json: `python3 test/golden/make/eplb.py > test/golden/fixtures/eplb.json`.

Needs nothing but Python. The first case and its output are those that EPLB's README publishes
(deepseek-ai/EPLB, "Interface and Example"); they are written down here, and this script's own balancer must
reproduce them before it may make any further case. It shares no code with packages/placement: it works with
explicit nodes and devices and plain lists, from the README's description of the two policies.
"""

import json
import random

PUBLISHED = {
    "load": [
        [90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
        [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27],
    ],
    "options": {"numReplicas": 16, "numGroups": 4, "numNodes": 2, "numDevices": 8},
    "expertOfSlot": [
        [5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
        [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1],
    ],
}


class Bin:
    def __init__(self, room):
        self.room, self.items, self.weight = room, [], 0.0


def pack(items, count):
    """items: (name, weight); heaviest first, each into the lightest of `count` bins that has room."""
    bins = [Bin(len(items) // count) for _ in range(count)]
    if len(items) == count:
        for bin_, (name, _) in zip(bins, items):
            bin_.items.append(name)
        return [bin_.items for bin_ in bins]
    for name, weight in sorted(items, key=lambda item: -item[1]):
        bin_ = min((b for b in bins if len(b.items) < b.room), key=lambda b: b.weight)
        bin_.items.append(name)
        bin_.weight += weight
    return [bin_.items for bin_ in bins]


def balance_layer(load, numReplicas, numGroups, numNodes, numDevices):
    if numGroups % numNodes:
        numGroups = numNodes = 1
    size = len(load) // numGroups
    groups = [list(range(g * size, (g + 1) * size)) for g in range(numGroups)]
    slots = []
    for node in pack([(g, sum(load[e] for e in group)) for g, group in enumerate(groups)], numNodes):
        experts = [e for g in node for e in groups[g]]
        copies = {e: 1 for e in experts}
        replicas = list(experts)
        for _ in range(numReplicas // numNodes - len(experts)):
            hottest = max(experts, key=lambda e: load[e] / copies[e])
            copies[hottest] += 1
            replicas.append(hottest)
        for device in pack([(e, load[e] / copies[e]) for e in replicas], numDevices // numNodes):
            slots += device
    return slots


def case(name, load, **options):
    slots = [balance_layer(layer, **options) for layer in load]
    return {"name": name, "load": load, "options": options, "expertOfSlot": slots}


def loads(rng, layers, experts):
    # Distinct within a layer: equal loads may be taken in either order.
    return [rng.sample(range(1, 100_000), experts) for _ in range(layers)]


def main():
    published = case("published example", PUBLISHED["load"], **PUBLISHED["options"])
    assert published["expertOfSlot"] == PUBLISHED["expertOfSlot"], "this script does not do what EPLB does"
    rng = random.Random(20261122)
    cases = [
        published,
        case("global: groups do not divide over nodes", loads(rng, 2, 12),
             numReplicas=20, numGroups=4, numNodes=5, numDevices=10),
        case("no spare slots", loads(rng, 2, 16), numReplicas=16, numGroups=4, numNodes=2, numDevices=8),
        case("one device per replica", loads(rng, 1, 8), numReplicas=12, numGroups=2, numNodes=2, numDevices=12),
        case("DeepSeek-V3 prefill: 256 experts, 32 spare, 4 nodes of 8", loads(rng, 2, 256),
             numReplicas=288, numGroups=8, numNodes=4, numDevices=32),
        case("DeepSeek-V3 decode: 256 experts, 32 spare, 18 nodes of 8", loads(rng, 1, 256),
             numReplicas=288, numGroups=8, numNodes=18, numDevices=144),
    ]
    print("[\n" + ",\n".join(json.dumps(c) for c in cases) + "\n]")


main()
