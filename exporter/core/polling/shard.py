"""Which of several exporters that share a fleet reads a service: rendezvous hashing, by service_id.

Each shard has a weight for each service, and the service belongs to the shard with the largest (Thaler and
Ravishankar, 1998: "highest random weight"). The weight is the BLAKE2b digest, 8 bytes long, of the shard's
number in ASCII digits, a slash and the service_id in UTF-8; of equal ones the smaller number has it. So
another shard changes no weight of those that there are: it takes its part of each, and nothing else moves.

What is hashed must stay as it is: another rule moves nearly every service at an upgrade.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

# Every list shows all services of the project to every shard, and to hash 10,000 ids for eight shards takes
# 100 ms. So many ids are enough for 100,000 services; they take 200 bytes each.
_REMEMBERED = 131_072

# Names the rule above where a store must notice that another one was in force.
RULE = "rendezvous"


@dataclass(frozen=True)
class Shard:
    """One of `total` exporters that share a fleet, counted from 0; each service belongs to exactly one."""

    index: int = 0
    total: int = 1

    def has(self, service_id: str) -> bool:
        """Whether the service is ours."""
        return self.total == 1 or owner(service_id, self.total) == self.index

    def share(self, rate: float) -> float:
        """Our part of what all shards together may send."""
        return rate / self.total


@lru_cache(maxsize=_REMEMBERED)
def owner(service_id: str, total: int) -> int:
    """The number of the shard that the service belongs to, from 0 to `total` - 1."""
    name = service_id.encode("utf-8", "replace")
    return max(range(total), key=lambda index: _weight(index, name))


def _weight(index: int, name: bytes) -> bytes:
    return blake2b(b"%d/" % index + name, digest_size=8).digest()
