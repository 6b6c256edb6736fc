"""The policy of a configuration: rules of access, and isolation of jobs.

Owns the form of rules, the order in which they are tried, and the findings on
rules that cannot have an effect.  Must not know connections or commands.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import NamedTuple

from spalloc_server._access.identity import Identity

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The values of `Policy.isolation`.
ISOLATIONS = ("none", "jobs")

_KINDS = ("unix", "cert", "user")


class AccessClass(IntEnum):
    """The rights of a rule's holders; a higher class includes the lower ones.

    A front is apart: by itself it has a reader's rights, and it may give commands for the
    users that it names.
    """

    deny = 0
    read = 1
    use = 2
    operate = 3
    front = 4


class Rule(NamedTuple):
    """One line of a policy.

    Attributes
    ----------
    who : str
        A network such as ``"10.1.0.0/16"`` or ``"2001:db8::/32"``, a single address,
        or ``"unix:USER"``, ``"cert:NAME"`` or ``"user:NAME"``; ``*`` stands for any
        characters of a name.
    access : str
        ``"deny"``, ``"read"``, ``"use"``, ``"operate"`` or ``"front"``.
    """

    who: str
    access: str


class _Pattern(NamedTuple):
    """A rule's first half, understood: a network, or a kind of name with a pattern."""

    network: Network | None
    kind: str
    name: str

    def matches(self, identity: Identity) -> bool:
        if self.network is not None:
            address = identity.address
            return (
                address is not None
                and address.version == self.network.version
                and address in self.network
            )
        if self.kind == "unix":
            uid = None if identity.uid is None else str(identity.uid)
            return any(_like(name, self.name) for name in (identity.unix_user, uid))
        return _like(identity.certificate if self.kind == "cert" else identity.user, self.name)

    def may_match(self, identity: Identity) -> bool:
        """Whether an identity would be matched if the name of its user id were known."""
        if self.kind != "unix" or identity.uid is None or identity.unix_user is not None:
            return self.matches(identity)
        return self.matches(identity) or not self.name.isdecimal()

    def covers(self, other: _Pattern) -> bool:
        """Whether every identity that the other pattern matches is matched by this one."""
        if self.network is not None and other.network is not None:
            # Both of one version, which the type checker cannot know.
            return self.network.version == other.network.version and other.network.subnet_of(
                self.network  # type: ignore[arg-type]
            )
        if self.network is not None or other.network is not None:
            return False
        if self.kind != other.kind:
            return False
        return self.name in ("*", other.name) or (
            "*" not in other.name and _like(other.name, self.name)
        )


def _like(name: str | None, pattern: str) -> bool:
    """Whether a name fits a pattern in which ``*`` alone is special."""
    if name is None:
        return False
    literal = pattern.replace("[", "[[]").replace("?", "[?]")
    return fnmatchcase(name, literal)


@dataclass(frozen=True)
class Policy:
    """The users of a server, and the protection of jobs from each other.

    Parameters
    ----------
    access : iterable of Rule or (who, access), or None
        The first rule that matches counts; a connection that none matches is denied.
        None admits everybody, as without a policy.
    isolation : str
        ``"none"``: any client may end and power any job.  ``"jobs"``: only its own
        principal and operators may.

    Raises
    ------
    TypeError, ValueError
        If a rule is of bad form; the text names it and the allowed values.
    """

    access: Iterable[Rule | tuple[str, str]] | None = None
    isolation: str = "none"
    _patterns: tuple[tuple[_Pattern, AccessClass], ...] = field(
        default=(), init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if self.isolation not in ISOLATIONS:
            raise ValueError(f"isolation is {self.isolation!r}: expected one of {ISOLATIONS}")
        if self.access is None:
            return
        if isinstance(self.access, str | bytes) or not isinstance(self.access, Iterable):
            raise TypeError(
                f"access is {self.access!r}: expected a list of rules, such as "
                '[Rule("10.1.0.0/16", "use")]'
            )
        rules = [_rule(number, rule) for number, rule in enumerate(self.access, 1)]
        object.__setattr__(self, "access", tuple(rules))
        understood = tuple((_pattern(rule.who), AccessClass[rule.access]) for rule in rules)
        object.__setattr__(self, "_patterns", understood)

    @property
    def rules(self) -> tuple[Rule, ...] | None:
        """The rules in order; None if everybody is admitted."""
        # Made rules by __post_init__.
        return None if self.access is None else tuple(Rule(*rule) for rule in self.access)

    def judge(self, identity: Identity) -> tuple[AccessClass, int | None]:
        """Return an identity's class, and the number of the rule that gives it.

        Rules are numbered from 1.  The number is None if no rule matches, and without
        rules; a call from within the server may do all that a user may.  A user id without
        a name, or with one that could not be found in time, is denied by the first rule that
        would deny some name: a directory that fails must not admit anybody.
        """
        if self.access is None or identity == Identity():
            return AccessClass.use, None
        for number, (pattern, access) in enumerate(self._patterns, 1):
            denies = access is AccessClass.deny
            if pattern.may_match(identity) if denies else pattern.matches(identity):
                return access, number
        return AccessClass.deny, None

    def findings(self) -> Iterator[str]:
        """Tell, a sentence each, of rules that cannot have the effect they seem to have."""
        if self.access is None:
            yield "everybody who reaches the port may use the server (no access rules)"
            return
        if not self._patterns:
            yield "access is an empty list: every connection is denied"
        rules = self.rules or ()
        for number, (pattern, _) in enumerate(self._patterns):
            for earlier, (other, _) in enumerate(self._patterns[:number]):
                if other.covers(pattern):
                    yield (
                        f"access rule {number + 1} ({rules[number].who}) has no effect: "
                        f"rule {earlier + 1} ({rules[earlier].who}) comes first"
                    )
                    break


def _rule(number: int, rule: object) -> Rule:
    """Check one rule of a list."""
    if not isinstance(rule, tuple) or len(rule) != 2 or not all(isinstance(x, str) for x in rule):
        raise TypeError(
            f"access rule {number} is {rule!r}: expected (WHO, CLASS), such as "
            '("10.1.0.0/16", "use")'
        )
    who, access = rule
    if access not in AccessClass.__members__:
        raise ValueError(
            f"access rule {number}: the class is {access!r}: "
            f"expected one of {tuple(AccessClass.__members__)}"
        )
    try:
        pattern = _pattern(who)
    except ValueError as e:
        raise ValueError(f"access rule {number}: {e}") from e
    if access == "front" and pattern.kind not in ("unix", "cert"):
        raise ValueError(
            f"access rule {number}: {who!r} cannot be a front: expected unix:USER or cert:NAME"
        )
    return Rule(who, access)


def _pattern(who: str) -> _Pattern:
    kind, colon, name = who.partition(":")
    if colon and kind in _KINDS:
        if not name:
            raise ValueError(f"{who!r} has no name: expected {kind}:NAME, * for any")
        if name != name.strip():
            raise ValueError(f"{who!r}: the name begins or ends with a blank, as none does")
        return _Pattern(None, kind, name)
    try:
        return _Pattern(_network(who), "", "")
    except ValueError as e:
        raise ValueError(
            f"{who!r} is no network: expected an address such as 10.1.0.0/16 or 2001:db8::/32, "
            f"or unix:USER, cert:NAME, user:NAME ({e})"
        ) from e


def _network(text: str) -> Network:
    """Return a network in its normal form: one of mapped addresses becomes IPv4."""
    if "%" in text:
        raise ValueError("zones such as %eth0 are not told apart: leave it out")
    network = ipaddress.ip_network(text)
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network
